"""Progress bars of long work: drawn on a terminal, else told as events to whoever listens."""

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tune_encoder.system.events import is_heard, tell

if TYPE_CHECKING:
    _Bar = tqdm[Any]
else:
    _Bar = tqdm

_COLUMNS = 80
_TOLD_EVERY_S = 1.0


class _ToldBar(_Bar):
    """Tells as events what it would draw, as often as it would draw it."""

    def display(self, *args: object, **kwargs: object) -> None:
        work = self.desc.removesuffix(": ") or None
        tell("progress", work=work, done=self.n, total=self.total, unit=self.unit)

    def clear(self, nolock: bool = False) -> None:
        """Clear nothing, since nothing is drawn."""


def progress_bar(
    work: Iterable[Any] | None = None,
    total: int | None = None,
    *,
    description: str = "",
    unit: str = "clip",
    done: int = 0,
    stays: bool = True,
) -> _Bar:
    """Return a bar; without a terminal nothing is drawn.

    Args:
        work: What to count while it is iterated; without it, call `update`.
        total: How many there are, if that is not the length of `work`.
        description: What is done.
        unit: What is counted.
        done: How many were done before.
        stays: Whether the bar remains when all is done.
    """
    shared: dict[str, Any] = {
        "total": total, "desc": description or None, "unit": unit, "initial": done, "leave": stays,
    }  # fmt: skip
    if is_heard():
        return _ToldBar(work, file=io.StringIO(), mininterval=_TOLD_EVERY_S, **shared)
    return tqdm(work, ncols=_COLUMNS, disable=None, **shared)
