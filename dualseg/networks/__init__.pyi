from ._blocks import (
    NetworkOutput as NetworkOutput,
    conv_block as conv_block,
    count_parameters as count_parameters,
)
from .resnet34 import (
    BasicBlock as BasicBlock,
    ResNet34 as ResNet34,
    ResNet34Encoder as ResNet34Encoder,
)
from .vnet import (
    VNet as VNet,
    VNetEncoder as VNetEncoder,
)
