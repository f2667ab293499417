"""Search spaces: YAML files that say what to search, within what budget.

A space is checked whole when it is read, against the settings' own types and ranges, so that no
trial fails for a typo. It knows neither Ray nor Optuna: `SearchSpace.sample` asks whoever suggests.
"""

from tune_encoder.space.builtin import builtin_spaces, find_space, space_summary
from tune_encoder.space.reading import (
    load_space,
    override_space,
    parse_space,
    read_space,
    space_to_content,
)
from tune_encoder.space.sampling import RandomSuggester, largest_configs, sample_configs
from tune_encoder.space.space import MAX_GRID_POINTS, Parameter, SearchSpace, Suggester

__all__ = [
    "MAX_GRID_POINTS",
    "Parameter",
    "RandomSuggester",
    "SearchSpace",
    "Suggester",
    "builtin_spaces",
    "find_space",
    "largest_configs",
    "load_space",
    "override_space",
    "parse_space",
    "read_space",
    "sample_configs",
    "space_summary",
    "space_to_content",
]
