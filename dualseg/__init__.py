"""Semi-supervised 3D segmentation with two networks that teach each other. Not for clinical use.

`import dualseg as ds` loads nothing heavy: a name is imported when it is first used. `__init__.pyi`
says where each of them lives.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
