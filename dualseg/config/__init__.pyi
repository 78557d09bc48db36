from .experiment import (
    Experiment as Experiment,
    preset_settings as preset_settings,
)
from .training import (
    Progress as Progress,
    TrainConfig as TrainConfig,
)
