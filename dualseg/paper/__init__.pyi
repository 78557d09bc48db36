from .complexity import (
    complexity_table as complexity_table,
)
from .complexity import (
    count_macs as count_macs,
)
from .explain import (
    explain as explain,
)
from .explain import (
    explain_gradients as explain_gradients,
)
from .gradients import (
    INPUTS as INPUTS,
)
from .gradients import (
    gradient_table as gradient_table,
)
from .gradients import (
    released_gradient_table as released_gradient_table,
)
from .gradients import (
    released_values as released_values,
)
from .released_program import (
    released_unlabeled_terms as released_unlabeled_terms,
)
from .tables import (
    paper_remarks as paper_remarks,
)
from .tables import (
    paper_table as paper_table,
)
