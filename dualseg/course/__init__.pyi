from .checkers import (
    check_close as check_close,
)
from .checkers import (
    nb00 as nb00,
)
from .checkers import (
    nb01 as nb01,
)
from .checkers import (
    nb02 as nb02,
)
from .checkers import (
    nb03 as nb03,
)
from .checkers import (
    nb04 as nb04,
)
from .checkers import (
    nb05 as nb05,
)
from .checkers import (
    nb06 as nb06,
)
from .checkers import (
    nb07 as nb07,
)
from .checkers import (
    nb08 as nb08,
)
from .checkers import (
    nb09 as nb09,
)
from .checkers import (
    nb10 as nb10,
)
from .checkers import (
    nb11 as nb11,
)
from .checkers import (
    nb12 as nb12,
)
from .display import (
    browse as browse,
)
from .display import (
    show as show,
)
from .half_trained import (
    half_trained as half_trained,
)
from .settings import (
    notebook_settings as notebook_settings,
)
from .settings import (
    project_folder as project_folder,
)
