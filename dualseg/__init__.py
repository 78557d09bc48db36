"""dualseg: dual-network semi-supervised 3D medical image segmentation, to learn, re-run, extend."""

__version__ = "0.1.0"
