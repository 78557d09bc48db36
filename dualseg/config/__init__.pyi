from .experiment import (
    Experiment as Experiment,
)
from .experiment import (
    preset_settings as preset_settings,
)
from .training import (
    Progress as Progress,
)
from .training import (
    TrainConfig as TrainConfig,
)
