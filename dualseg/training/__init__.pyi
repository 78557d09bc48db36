from .loop import (
    fit as fit,
)
