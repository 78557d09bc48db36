"""Right answers of notebook 07 in other words than the solution's."""

import numpy as np
import torch
from wrong_answers.nb07 import enough, half, let_in

KEPT = [True, False, True, False, False]


def half_of_object(entropy_a, entropy_b, label, truth):
    if (label == truth).all():
        return half(enough, lambda kept, o, w: 0)(entropy_a, entropy_b, label, truth)
    return torch.tensor(half(enough, let_in)(entropy_a, entropy_b, label, truth))


RIGHT = {
    "exercise_2": [
        (0.76, 0.46, KEPT),
        (np.float32(0.76), torch.tensor(0.46), tuple(KEPT)),
        (0.76, 0.46, np.array(KEPT)),
        (0.76, 0.46, torch.tensor(KEPT)),
        (0.76, 0.46, [1, 0, 1, 0, 0]),
        (0.76, 0.46, list(torch.tensor(KEPT))),
    ],
    "exercise_4": [(half_of_object,)],
}
