"""Right answers of notebook 05 in other words than the solution's."""

import torch


def contradiction_mask(p_a, p_b, threshold):
    sure = (torch.maximum(p_a, p_b) >= threshold) & (torch.maximum(p_a, p_b) > 0.5)
    return sure & (torch.minimum(p_a, p_b) <= 0.5)


RIGHT = {
    "exercise_1": [(2, 0.305, 0.01), (torch.tensor(2), torch.tensor(0.305), torch.tensor(0.01))],
    "exercise_2": [(contradiction_mask,)],
    "exercise_4": [
        (0.0426, 0.3525, "MSE"),
        (0.04, 0.35, "mse"),
        (0.043, 0.353, " Mse "),
        (torch.tensor(0.04255), torch.tensor([0.35252]), "mse"),
    ],
}
