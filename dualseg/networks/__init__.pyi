from ._blocks import (
    NetworkOutput as NetworkOutput,
    conv_block as conv_block,
    count_parameters as count_parameters,
)
from .resnet34 import (
    ResNet34 as ResNet34,
)
from .vnet import (
    VNet as VNet,
)
