from .claims import (
    Claim as Claim,
    claims_table as claims_table,
    paper_claims as paper_claims,
)
from .complexity import (
    complexity_table as complexity_table,
    count_macs as count_macs,
    sizes_of_networks as sizes_of_networks,
)
from .equations import (
    MappedEquation as MappedEquation,
    equation_map as equation_map,
    equations_table as equations_table,
    section_of as section_of,
)
from .explain import (
    explain as explain,
    explain_gradients as explain_gradients,
)
from .gradients import (
    INPUTS as INPUTS,
    gradient_table as gradient_table,
    released_gradient_table as released_gradient_table,
    released_values as released_values,
)
from .published import (
    Published as Published,
    published_numbers as published_numbers,
)
from .released_program import (
    released_unlabeled_terms as released_unlabeled_terms,
)
from .tables import (
    paper_remarks as paper_remarks,
    paper_table as paper_table,
)
