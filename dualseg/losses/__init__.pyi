from .consistency import (
    consistency_loss as consistency_loss,
    disagreement_mask as disagreement_mask,
)
from .contrast import (
    class_prototypes as class_prototypes,
    contrast_weight as contrast_weight,
    prototype_contrast as prototype_contrast,
    reliable_mask as reliable_mask,
)
from .cosine import (
    cosine_consistency as cosine_consistency,
)
from .cross_pseudo import (
    cross_pseudo_loss as cross_pseudo_loss,
    pseudo_label as pseudo_label,
)
from .entropy import (
    class_thresholds as class_thresholds,
    confident_mask as confident_mask,
    entropy_bits as entropy_bits,
    entropy_filtered_loss as entropy_filtered_loss,
    entropy_threshold as entropy_threshold,
    keep_below as keep_below,
)
from .supervised import (
    soft_dice_loss as soft_dice_loss,
    supervised_loss as supervised_loss,
)
from .uncertainty import (
    kl_divergence as kl_divergence,
    uncertainty_loss as uncertainty_loss,
)
