"""Right answers of notebook 01 in other words than the solution's."""

import numpy as np
import torch


def index_in_ras(index, shape):
    return np.array([shape[0] - 1 - index[0], shape[1] - 1 - index[1], index[2]])


def leaking(train, test, repeats):
    pairs = [*repeats, *((b, a) for a, b in repeats)]
    return [t for t in test if t in train or any(a in train and b == t for a, b in pairs)]


RIGHT = {
    "exercise_1": [(index_in_ras,), (lambda *given: torch.tensor(index_in_ras(*given)),)],
    "exercise_2": [(leaking,), (lambda *given: frozenset(leaking(*given)),)],
}
