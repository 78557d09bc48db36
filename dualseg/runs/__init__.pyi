from .records import (
    lesson_runs as lesson_runs,
    load_records as load_records,
    name_of as name_of,
    runs_over as runs_over,
)
from .run import (
    Run as Run,
)
