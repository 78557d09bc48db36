"""The paper's losses, one module a section; each function sees only the samples it is about.

Every function raises DualsegError for an argument that is not as its docstring says. Sizes: B the
batch, C the classes (any number from 2, if not said otherwise), X, Y, Z the voxels.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
