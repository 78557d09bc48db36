"""Right answers of notebook 09 in other words than the solution's."""

import numpy as np
import torch
from wrong_answers.nb09 import means, step_of


def as_lists(features, labels, reliable):
    found, exists = means(lambda m: m.sum().clamp_min(1))(features, labels, reliable)
    return [found.tolist(), exists.tolist()]


RIGHT = {
    "exercise_1": [(as_lists,)],
    "exercise_2": [(16,), (16.0,), (np.int64(16),), (torch.tensor(16.0),)],
    "exercise_3": [
        (step_of(-1),),
        (lambda *given, **step: torch.tensor(step_of(-1)(*given, **step)),),
    ],
}
