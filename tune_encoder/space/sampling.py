"""Random proposals, to check a space, to show what it proposes, and to find its largest configs."""

import random
from collections.abc import Iterator
from typing import Any

from tune_encoder.space.space import SearchSpace, n_steps, value_at_step


class RandomSuggester:
    """Uniform proposals."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Uniform, over the steps if there are any, or uniform in the logarithm."""
        if log:
            return float(low * (high / low) ** self._random.random())
        if step:
            return value_at_step(low, step, self._random.randint(0, n_steps(low, high, step)))
        return self._random.uniform(low, high)

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Uniform over the steps, or uniform in the logarithm."""
        if log:
            return round(self.suggest_float(name, low, high, log=True))
        return self._random.randrange(low, high + 1, step)

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Any of the choices."""
        return self._random.choice(list(choices))


_SMALLER_NEEDS_MORE_MEMORY = ("gradient_accumulation",)  # memory


class LargestSuggester(RandomSuggester):
    """The value of every number that needs the most memory, any of the other choices."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """The highest."""
        return high

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """The highest, or the lowest."""
        return low if name in _SMALLER_NEEDS_MORE_MEMORY else high

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Of numbers the highest or the lowest."""
        if not all(
            isinstance(each, int | float) and not isinstance(each, bool) for each in choices
        ):
            return super().suggest_categorical(name, choices)
        return min(choices) if name in _SMALLER_NEEDS_MORE_MEMORY else max(choices)


def sample_configs(space: SearchSpace, count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield random settings of the space."""
    suggest = RandomSuggester(seed)
    for _ in range(count):
        yield space.sample(suggest)


def largest_configs(space: SearchSpace, count: int) -> Iterator[dict[str, Any]]:
    """Yield settings that need the most memory, one of each combination of choices drawn.

    Args:
        space: Where numbers take their highest value.
        count: How often choices are drawn.
    """
    suggest = LargestSuggester(0)
    found: list[dict[str, Any]] = []
    for _ in range(count):
        settings = space.sample(suggest)
        if settings not in found:
            found.append(settings)
            yield settings
