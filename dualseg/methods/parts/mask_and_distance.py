"""What SASSNet and DTC have in common: one network, two outputs, and how both learn from labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ..._util.settings import Settings
from ...config.training import TrainConfig
from ...data.spec import DatasetSpec
from ...losses import soft_dice_loss
from ...networks.distance_vnet import DistanceOutput, DistanceVNet
from ..base import Equation, OneNetwork
from .signed_distance import signed_distance
from .two_classes import require_two_classes

SUPERVISED_EQUATIONS = {
    "supervised": Equation(
        "Supervised loss of the mask",
        "Li et al. 2020, Luo et al. 2021",
        "1 - 2 sum(p y) / (sum(p^2) + sum(y^2)), p = sigmoid(mask), labeled samples",
    ),
    "distance": Equation(
        "Signed distance map",
        "Li et al. 2020, Luo et al. 2021",
        "mean (z - SDM(y))^2, SDM: negative inside, 0 on the surface; labeled samples",
    ),
}


class MaskAndDistance(OneNetwork):
    """A method of one `DistanceVNet`, which predicts by its mask.

    A subclass implements `loss` and `weights`.
    """

    def __init__(self, settings: Settings, config: TrainConfig, spec: DatasetSpec):
        require_two_classes(self.title, spec)
        super().__init__(settings, config, spec)

    def build_network(self) -> nn.Module:
        return self.build(DistanceVNet, initialization="default")

    def supervised_terms(self, out: DistanceOutput, label: Tensor) -> dict[str, Tensor]:
        """The terms of `SUPERVISED_EQUATIONS`.

        Parameters
        ----------
        out : DistanceOutput
            Of all samples, the labeled ones first.
        label : Tensor, shape (L, X, Y, Z)
            Of the labeled samples, 0 and 1.

        Returns
        -------
        dict of str to Tensor
            Scalars by name.
        """
        mask, distance = out.mask[: len(label)], out.distance[: len(label)]
        return {
            "supervised": soft_dice_loss(mask.sigmoid(), label),
            "distance": mse_loss(distance, signed_distance(label.bool())),
        }

    def predict_members(self, patch: Tensor) -> Tensor:
        prob = self(patch).mask.sigmoid()
        return torch.stack([1 - prob, prob], 1)[None]
