"""For those who write notebooks and teach with them: run, record, check, student copies, grade.

Everything here needs the packages of the extra `notebooks`.
"""

from importlib.util import find_spec

from ...errors import DualsegError

NEEDED = ("IPython", "ipykernel", "nbclient", "nbconvert", "nbformat", "papermill")

missing = [name for name in NEEDED if find_spec(name) is None]
if missing:
    raise DualsegError(
        f"notebooks: expected the notebook packages, found no {', '.join(missing)}; in the "
        'project\'s folder, run `python -m pip install -c constraints.txt -e ".[notebooks]"`.'
    )
