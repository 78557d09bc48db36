"""Right answers of notebook 12 in other words than the solution's."""

import numpy as np
import torch
from wrong_answers.nb12 import best, effects

RIGHT = {
    "exercise_1": [(lambda c, dice: np.array(effects(c, dice)),), (lambda *g: tuple(effects(*g)),)],
    "exercise_2": [(lambda none, a, b, both: torch.tensor([a + b - none, both + none - a - b]),)],
    "exercise_3": [(lambda k, sigma, seeds: torch.tensor(best(k) * sigma / seeds**0.5),)],
    "exercise_4": [(6.4,), (np.float64(6.4),), (torch.tensor(6.4),)],
}
