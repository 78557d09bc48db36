"""Right answers of notebook 02 in other words than the solution's."""

import numpy as np
import torch


def fair_means(first, second):
    both = np.isfinite(first) & np.isfinite(second)
    return np.array([first[both].mean(), second[both].mean(), (~both).sum()])


RIGHT = {
    "exercise_1": [
        (lambda dice: 100 * dice / (200 - dice),),
        (lambda dice: torch.tensor(100 * dice / (200 - dice)),),
    ],
    "exercise_3": [(8,), (8.0,), (np.ceil(7.5),), (np.int64(8),), (torch.tensor(8),)],
    "exercise_4": [(fair_means,), (lambda *given: list(fair_means(*given)),)],
}
