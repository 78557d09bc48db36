from . import (
    course as course,
)
from . import (
    data as data,
)
from . import (
    evaluation as evaluation,
)
from . import (
    losses as losses,
)
from . import (
    methods as methods,
)
from . import (
    networks as networks,
)
from . import (
    paper as paper,
)
from . import (
    plotting as plotting,
)
from . import (
    runs as runs,
)
from .config.experiment import Experiment as Experiment
from .config.training import Progress as Progress
from .config.training import TrainConfig as TrainConfig
from .data.dataset import Dataset as Dataset
from .data.dataset import open_dataset as open_dataset
from .errors import DualsegError as DualsegError
from .evaluation.evaluate import evaluate as evaluate
from .evaluation.metrics import compare_masks as compare_masks
from .evaluation.metrics import summarize as summarize
from .evaluation.predict_scan import predict_scan as predict_scan
from .methods import METHODS as METHODS
from .methods import Method as Method
from .paper.tables import paper_table as paper_table
from .runs.records import load_records as load_records
from .runs.run import Run as Run
from .training.loop import fit as fit

__version__: str
