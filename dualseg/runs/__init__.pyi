from .records import (
    lesson_runs as lesson_runs,
    load_records as load_records,
    name_of as name_of,
)
from .run import (
    Run as Run,
)
