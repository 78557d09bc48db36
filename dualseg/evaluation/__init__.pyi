from .metrics import (
    compare_masks as compare_masks,
    summarize as summarize,
)
from .sliding_window import (
    masks_of as masks_of,
    predict_volume as predict_volume,
    sliding_window as sliding_window,
    window_starts as window_starts,
)
