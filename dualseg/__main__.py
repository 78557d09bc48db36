"""`python -m dualseg ...` is `dualseg ...`."""

import os
import sys

from .cli.main import main

if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun started this process, and others beside it
    from .training.distributed import joined

    with joined():
        sys.exit(main())
sys.exit(main())
