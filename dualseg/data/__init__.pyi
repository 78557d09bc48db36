from .batches import (
    Batch as Batch,
)
from .batches import (
    BatchSampler as BatchSampler,
)
from .batches import (
    IntensityScale as IntensityScale,
)
from .batches import (
    random_crop as random_crop,
)
from .batches import (
    random_turn_and_flip as random_turn_and_flip,
)
from .case import (
    Case as Case,
)
from .dataset import (
    Dataset as Dataset,
)
from .dataset import (
    Split as Split,
)
from .dataset import (
    open_dataset as open_dataset,
)
from .known import (
    DATASETS as DATASETS,
)
from .known import (
    dataset_spec as dataset_spec,
)
from .known import (
    prepare as prepare,
)
from .known import (
    protocols as protocols,
)
from .known import (
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
