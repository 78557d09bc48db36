"""`python -m dualseg ...` is `dualseg ...`."""

import sys

from .cli.main import main

sys.exit(main())
