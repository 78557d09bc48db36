from ._blocks import (
    NetworkOutput as NetworkOutput,
    conv_block as conv_block,
    count_parameters as count_parameters,
)
from .discriminator import (
    VolumeDiscriminator as VolumeDiscriminator,
)
from .distance_vnet import (
    DistanceOutput as DistanceOutput,
    DistanceVNet as DistanceVNet,
)
from .multi_decoder import (
    MultiDecoder as MultiDecoder,
)
from .pyramid_unet import (
    PyramidUNet as PyramidUNet,
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
from .voxel_heads import (
    TopMemory as TopMemory,
    VoxelHeads as VoxelHeads,
)
