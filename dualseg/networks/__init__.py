"""The networks, built from shared blocks."""

from ._blocks import NetworkOutput, conv_block, count_parameters
from .resnet34 import ResNet34
from .vnet import VNet

__all__ = ["NetworkOutput", "ResNet34", "VNet", "conv_block", "count_parameters"]
