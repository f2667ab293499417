"""Search spaces: YAML files that define what is searched, and with which budget.

A space is checked completely when it is loaded, against the settings' own types and ranges, so that
no trial fails because of a typo. This package uses neither Ray nor Optuna: `SearchSpace.sample`
takes any object that can suggest values, such as an `optuna.Trial`.
"""

from tune_encoder.space.builtin import builtin_spaces, find_space, space_summary
from tune_encoder.space.constraints import Constraint, broken_constraints, excesses
from tune_encoder.space.reading import (
    load_space,
    new_space,
    override_space,
    parse_space,
    read_space,
    space_to_content,
)
from tune_encoder.space.sampling import RandomSuggester, largest_configs, sample_configs
from tune_encoder.space.space import (
    MAX_GRID_POINTS,
    ConfigKey,
    Parameter,
    SearchSpace,
    SpaceContent,
    Suggester,
)

__all__ = [
    "MAX_GRID_POINTS",
    "ConfigKey",
    "Constraint",
    "Parameter",
    "RandomSuggester",
    "SearchSpace",
    "SpaceContent",
    "Suggester",
    "broken_constraints",
    "builtin_spaces",
    "excesses",
    "find_space",
    "largest_configs",
    "load_space",
    "new_space",
    "override_space",
    "parse_space",
    "read_space",
    "sample_configs",
    "space_summary",
    "space_to_content",
]
