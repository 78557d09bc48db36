from .charts import (
    moving_average as moving_average,
)
from .charts import (
    plot_comparison as plot_comparison,
)
from .charts import (
    plot_curves as plot_curves,
)
from .slices import (
    LETTERS as LETTERS,
)
from .slices import (
    PLANES as PLANES,
)
from .slices import (
    CasePicture as CasePicture,
)
from .slices import (
    display_axes as display_axes,
)
from .slices import (
    display_slice as display_slice,
)
from .slices import (
    largest_slices as largest_slices,
)
from .slices import (
    plot_cases as plot_cases,
)
from .slices import (
    to_display as to_display,
)
from .style import (
    EDGES as EDGES,
)
from .style import (
    ON_IMAGE as ON_IMAGE,
)
from .style import (
    ROLES as ROLES,
)
from .style import (
    WIDTH as WIDTH,
)
from .style import (
    save as save,
)
from .style import (
    styles as styles,
)
from .surfaces import (
    plot_surfaces as plot_surfaces,
)
from .surfaces import (
    surface as surface,
)
