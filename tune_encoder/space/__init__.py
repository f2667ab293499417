"""Search spaces: YAML files that say what to search, within what budget.

A space is checked whole when it is read, against the settings' own types and ranges, so that no
trial fails for a typo. It knows neither Ray nor Optuna: `SearchSpace.sample` asks whoever suggests.
"""

from tune_encoder.space.builtin import about, find_space, shipped_spaces
from tune_encoder.space.reading import load_space, override, parse_space, to_content
from tune_encoder.space.sampling import RandomSuggest, largest, sampled
from tune_encoder.space.space import MAX_GRID_POINTS, Parameter, SearchSpace, Suggest

__all__ = [
    "MAX_GRID_POINTS",
    "Parameter",
    "RandomSuggest",
    "SearchSpace",
    "Suggest",
    "about",
    "find_space",
    "largest",
    "load_space",
    "override",
    "parse_space",
    "sampled",
    "shipped_spaces",
    "to_content",
]
