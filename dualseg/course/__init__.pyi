from .checkers import (
    check_close as check_close,
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
from .display import (
    EDGES as EDGES,
    LETTERS as LETTERS,
    ON_IMAGE as ON_IMAGE,
    ROLES as ROLES,
    CasePicture as CasePicture,
    browse as browse,
    display_slice as display_slice,
    largest_slices as largest_slices,
    plot_cases as plot_cases,
    show as show,
    show_surfaces as show_surfaces,
    styles as styles,
    to_display as to_display,
)
from .half_trained import half_trained as half_trained, train_once as train_once
from .predictions import predict as predict
from .settings import notebook_settings as notebook_settings, project_folder as project_folder
