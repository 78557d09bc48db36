from .charts import (
    moving_average as moving_average,
    plot_comparison as plot_comparison,
    plot_curves as plot_curves,
    plot_over_steps as plot_over_steps,
)
from .intervals import (
    IntervalRow as IntervalRow,
    MeanInterval as MeanInterval,
    plot_intervals as plot_intervals,
)
from .slices import (
    LETTERS as LETTERS,
    PLANES as PLANES,
    CasePicture as CasePicture,
    display_axes as display_axes,
    display_slice as display_slice,
    largest_slices as largest_slices,
    plot_cases as plot_cases,
    to_display as to_display,
)
from .style import (
    EDGES as EDGES,
    ON_IMAGE as ON_IMAGE,
    ROLES as ROLES,
    WIDTH as WIDTH,
    save as save,
    styles as styles,
)
from .surfaces import (
    plot_surfaces as plot_surfaces,
    surface as surface,
)
