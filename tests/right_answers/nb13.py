"""Right answers of notebook 13 in other words than the solution's."""

import numpy as np
import torch
from wrong_answers.nb13 import interval, mixed


def step_by_step(teacher, student, alpha, steps):
    now = dict(teacher)
    for _ in range(steps):
        now = {name: alpha * now[name] + (1 - alpha) * student[name] for name in now}
    return now


def copied(outside, inside, box, weight):
    image, label = outside[0].copy(), outside[1].copy()
    image[box], label[box] = inside[0][box], inside[1][box]
    weights = np.ones(box.shape)
    weights[box] = weight
    return [image, label, weights]


RIGHT = {
    "exercise_1": [
        (step_by_step,),
        (lambda *g: {n: torch.tensor(a) for n, a in step_by_step(*g).items()},),
    ],
    "exercise_2": [(copied,), (lambda *given: tuple(map(torch.tensor, mixed(*given))),)],
    "exercise_3": [
        (lambda a, b: tuple(interval(a, b)),),
        (lambda a, b: torch.tensor(interval(a, b, draws=2000)),),
    ],
}
