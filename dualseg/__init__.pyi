from . import (
    course as course,
    data as data,
    evaluation as evaluation,
    losses as losses,
    methods as methods,
    networks as networks,
    paper as paper,
    plotting as plotting,
    runs as runs,
)
from ._util.environment import check_environment as check_environment, pick_device as pick_device
from .config.experiment import Experiment as Experiment
from .config.training import Progress as Progress, TrainConfig as TrainConfig
from .data.dataset import Dataset as Dataset, open_dataset as open_dataset
from .errors import DualsegError as DualsegError
from .evaluation.evaluate import evaluate as evaluate
from .evaluation.metrics import compare_masks as compare_masks, summarize as summarize
from .evaluation.predict_scan import predict_scan as predict_scan
from .methods import METHODS as METHODS, Method as Method
from .paper.tables import paper_table as paper_table
from .runs.records import load_records as load_records
from .runs.run import Run as Run
from .training.loop import fit as fit

__version__: str
