from . import (
    nb00 as nb00,
    nb01 as nb01,
    nb02 as nb02,
    nb03 as nb03,
    nb04 as nb04,
    nb05 as nb05,
    nb06 as nb06,
    nb07 as nb07,
    nb08 as nb08,
    nb09 as nb09,
    nb10 as nb10,
    nb11 as nb11,
    nb12 as nb12,
    nb13 as nb13,
    nb14 as nb14,
)
from .core import Hint as Hint, check_close as check_close, exercise as exercise, expect as expect
