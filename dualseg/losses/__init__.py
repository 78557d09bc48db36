"""The paper's losses, one module a section; every function takes just the samples it is about."""

from .consistency import consistency_loss, disagreement_mask
from .contrast import class_prototypes, contrast_weight, prototype_contrast, reliable_mask
from .cosine import cosine_consistency
from .cross_pseudo import cross_pseudo_loss
from .entropy import (
    class_thresholds,
    confident_mask,
    entropy_bits,
    entropy_filtered_loss,
    entropy_threshold,
    keep_below,
)
from .supervised import soft_dice_loss, supervised_loss
from .uncertainty import kl_divergence, uncertainty_loss

__all__ = [
    "class_prototypes",
    "class_thresholds",
    "confident_mask",
    "consistency_loss",
    "contrast_weight",
    "cosine_consistency",
    "cross_pseudo_loss",
    "disagreement_mask",
    "entropy_bits",
    "entropy_filtered_loss",
    "entropy_threshold",
    "keep_below",
    "kl_divergence",
    "prototype_contrast",
    "reliable_mask",
    "soft_dice_loss",
    "supervised_loss",
    "uncertainty_loss",
]
