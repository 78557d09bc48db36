"""Right answers of notebook 14 in other words than the solution's."""

import numpy as np
import torch
from wrong_answers.nb14 import moving, ordered, there, with_zero, without


def listed(terms, inputs):
    return sorted(set(terms) - moving(terms, inputs))


def as_arrays(distances):
    values = np.array([np.nan if value is None else value for value in distances])
    return np.array([np.nan_to_num(values).mean(), np.nanmean(values), np.isnan(values).sum()])


def tensor_lead(table, key):
    first, second, _ = ordered(table, key)
    return [second["method"], torch.tensor(first[key] - second[key]).abs()]


RIGHT = {
    "exercise_1": [(listed,), (lambda t, i: tuple(listed(t, i)),)],
    "exercise_2": [(as_arrays,), (lambda d: (with_zero(d), without(d), len(d) - len(there(d))),)],
    "exercise_3": [(tensor_lead,)],
}
