from ._blocks import (
    NetworkOutput as NetworkOutput,
)
from ._blocks import (
    conv_block as conv_block,
)
from ._blocks import (
    count_parameters as count_parameters,
)
from .resnet34 import (
    ResNet34 as ResNet34,
)
from .vnet import (
    VNet as VNet,
)
