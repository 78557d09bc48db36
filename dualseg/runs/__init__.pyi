from .records import (
    lesson_runs as lesson_runs,
    load_records as load_records,
    losses_of as losses_of,
)
from .run import (
    Run as Run,
)
