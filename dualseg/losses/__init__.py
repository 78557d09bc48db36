"""The paper's losses, one module a section; every function takes just the samples it is about."""

from .cross_pseudo import cross_pseudo_loss
from .supervised import soft_dice_loss, supervised_loss

__all__ = ["cross_pseudo_loss", "soft_dice_loss", "supervised_loss"]
