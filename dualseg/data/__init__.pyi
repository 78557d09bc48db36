from .batches import (
    Batch as Batch,
    BatchSampler as BatchSampler,
    IntensityScale as IntensityScale,
    random_crop as random_crop,
    random_turn_and_flip as random_turn_and_flip,
)
from .case import (
    Case as Case,
)
from .dataset import (
    Dataset as Dataset,
    Split as Split,
    open_dataset as open_dataset,
)
from .grids import (
    resize as resize,
    shrink_image as shrink_image,
    shrink_label as shrink_label,
)
from .known import (
    DATASETS as DATASETS,
    dataset_spec as dataset_spec,
    prepare as prepare,
    protocols as protocols,
    published_lists as published_lists,
)
from .phantom import (
    make_case as make_case,
)
from .recipe import (
    Recipe as Recipe,
)
from .spec import (
    DatasetSpec as DatasetSpec,
)
from .volume_files import (
    oriented as oriented,
)
