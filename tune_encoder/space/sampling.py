"""Random configs: to check a space, to show samples of it, and to find its largest configs."""

import random
from collections.abc import Iterator, Sequence

from tune_encoder.config import SettingValue
from tune_encoder.space.space import SearchSpace, n_steps, value_at_step


class RandomSuggester:
    """Suggests values at random."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Suggest a value, uniformly in the range, over its steps, or in the logarithm."""
        if log:
            return float(low * (high / low) ** self._random.random())
        if step:
            return value_at_step(low, step, self._random.randint(0, n_steps(low, high, step)))
        return self._random.uniform(low, high)

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Suggest a value, uniformly over the steps or in the logarithm."""
        if log:
            return round(self.suggest_float(name, low, high, log=True))
        return self._random.randrange(low, high + 1, step)

    def suggest_categorical(self, name: str, choices: Sequence[SettingValue]) -> SettingValue:
        """Suggest any of the choices."""
        return self._random.choice(list(choices))


_SMALLER_NEEDS_MORE_MEMORY = ("gradient_accumulation",)  # memory


class LargestSuggester(RandomSuggester):
    """Suggests for each number the value that needs the most memory, else any of the choices."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Suggest the highest value."""
        return high

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Suggest the highest or the lowest value."""
        return low if name in _SMALLER_NEEDS_MORE_MEMORY else high

    def suggest_categorical(self, name: str, choices: Sequence[SettingValue]) -> SettingValue:
        """Suggest the highest or lowest number, or any choice that is not a number."""
        numbers = [n for n in choices if isinstance(n, int | float) and not isinstance(n, bool)]
        if len(numbers) < len(choices):
            return super().suggest_categorical(name, choices)
        return min(numbers) if name in _SMALLER_NEEDS_MORE_MEMORY else max(numbers)


def sample_configs(
    space: SearchSpace, count: int, seed: int = 0
) -> Iterator[dict[str, SettingValue]]:
    """Yield `count` random configs of the space."""
    suggest = RandomSuggester(seed)
    for _ in range(count):
        yield space.sample(suggest)


def largest_configs(space: SearchSpace, count: int) -> Iterator[dict[str, SettingValue]]:
    """Yield the configs that need the most memory, one for each sampled combination of choices.

    Args:
        space: The space, whose numbers take the value that needs the most memory.
        count: How often choices are sampled.
    """
    suggest = LargestSuggester(0)
    found: list[dict[str, SettingValue]] = []
    for _ in range(count):
        settings = space.sample(suggest)
        if settings not in found:
            found.append(settings)
            yield settings
