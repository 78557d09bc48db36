"""Go on with the runs of this parcel: `python work.py --minutes 9`, as often as it takes.

Needs Python 3.11, PyTorch, NumPy and h5py; everything else is in the parcel.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "code"))
sys.path.append(str(HERE / "needs"))  # behind what is installed here
os.environ.setdefault("DUALSEG_CACHE", str(HERE / "cache"))
if not sys.stderr.isatty():  # a log, that should not be all progress bars
    os.environ.setdefault("TQDM_MININTERVAL", "30")

if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 (nobody has installed this)
        sys.exit(f"work.py: expected Python 3.11 or newer, found {sys.version.split()[0]}.")
    try:
        import h5py  # noqa: F401 (asked for at once, not with the first volume)

        from dualseg.offline.work import main
    except ImportError as error:
        way_out = "copy the parcel again, all of it"
        if error.name in ("torch", "numpy", "h5py"):
            way_out = "PyTorch 2.11, NumPy 2 and h5py 3.11 or newer must be installed here"
        sys.exit(f"work.py: {error}; {way_out}.")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(main(HERE, sys.argv[1:]))
