"""What is known of a config before it is trained, so that one that breaks a constraint is not."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.config import CLOSED_FORM, PARAMETERS, SettingValue, stored_config
from tune_encoder.space import SearchSpace

if TYPE_CHECKING:
    from tune_encoder.data.style_statistics import Statistics

Known = Callable[[Mapping[str, SettingValue]], Mapping[str, float]]
"""Returns the quantities of a config's settings that are known, by name."""


def nothing_known(settings: Mapping[str, SettingValue]) -> Mapping[str, float]:
    """Return no quantity."""
    return {}


class KnownQuantities:
    """The quantities that a search limits and that are known before training.

    It loads torch, but only if the search limits the number of parameters.
    """

    def __init__(self, space: SearchSpace, pack: Path) -> None:
        self._space, self._pack = space, pack
        self._counts = any(each.name == PARAMETERS for each in space.constraints)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle without the statistics: Tune pickles its searcher, but it is never loaded."""
        return KnownQuantities, (self._space, self._pack)

    def __call__(self, settings: Mapping[str, SettingValue]) -> Mapping[str, float]:
        """See `Known`; the size of the closed form is known only once it is fitted."""
        if not self._counts or settings["encoder_type"] == CLOSED_FORM:
            return {}
        from tune_encoder.training.measures import parameters_of

        return {PARAMETERS: parameters_of(stored_config(settings, "trial"), self._statistics)}

    @cached_property
    def _statistics(self) -> "Statistics":
        from tune_encoder.data.pack import open_pack

        return open_pack(self._pack).statistics
