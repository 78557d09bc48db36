"""`python -m dualseg ...` is `dualseg ...`."""

import sys

from .cli import main

sys.exit(main())
