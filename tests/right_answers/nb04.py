"""Right answers of notebook 04 in other words than the solution's."""

import math

import numpy as np
import torch
from scipy.stats import sem


def paired_gain(first, second):
    gains = second.mean(0) - first.mean(0)
    return [gains.mean(), sem(gains)]


RIGHT = {
    "exercise_1": [
        (36.0,),
        (math.prod((np.ceil(28 / 18) + 1, np.ceil(38 / 18) + 1, np.ceil(8 / 4) + 1)),),
        (torch.tensor(36),),
    ],
    "exercise_2": [(paired_gain,), (lambda *given: torch.tensor(paired_gain(*given)),)],
    "exercise_3": [
        (lambda validation, test: torch.tensor(test[validation.mean(1).argmax()].mean()),),
    ],
    "exercise_4": [(5.0,), (np.int64(5),), (torch.tensor([5]),)],
}
