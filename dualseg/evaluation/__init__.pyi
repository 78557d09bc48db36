from .evaluate import (
    evaluate as evaluate,
)
from .metrics import (
    compare_masks as compare_masks,
)
from .metrics import (
    summarize as summarize,
)
from .sliding_window import (
    masks_of as masks_of,
)
from .sliding_window import (
    predict_volume as predict_volume,
)
from .sliding_window import (
    sliding_window as sliding_window,
)
from .sliding_window import (
    window_starts as window_starts,
)
