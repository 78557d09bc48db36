"""Methods that know one object and its background."""

from __future__ import annotations

from ...data.spec import DatasetSpec
from ...errors import DualsegError


def require_two_classes(title: str, spec: DatasetSpec) -> None:
    """Raise DualsegError for a data set with more than one object.

    Parameters
    ----------
    title : str
        Of the method.
    spec : DatasetSpec
    """
    if len(spec.classes) > 2:
        raise DualsegError(
            f"method: expected two classes for {title}, which is defined for one object and its "
            f"background, found {len(spec.classes)} ({', '.join(spec.classes)}); choose another "
            "method, or prepare the data with one object."
        )
