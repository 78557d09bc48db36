"""Right answers of notebook 08 in other words than the solution's."""

import torch
import torch.nn.functional as F


def une_of_a(a, b):
    teacher = b.detach()
    log_s = a.log_softmax(1)
    divergence = F.kl_div(log_s, teacher.log_softmax(1), reduction="none", log_target=True).sum(1)
    cross = F.cross_entropy(a, (teacher / 0.5).softmax(1), reduction="none")
    return ((-divergence).exp() * cross + divergence).mean()


RIGHT = {
    "exercise_2": [(0.2, 1.93), (torch.tensor(0.2), torch.tensor(1.931))],
    "exercise_3": [(une_of_a,)],
    "exercise_4": [(0.368, 0, 0.0), (torch.tensor(0.3679), torch.tensor(0), 0)],
}
