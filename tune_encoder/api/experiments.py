"""The experiments of a root from Python: list, compare, learn from and repair them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.api.options import expand_path
from tune_encoder.api.searching import resolve_space
from tune_encoder.api.wording import for_python
from tune_encoder.config import DEFAULT_ROOT
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.folder import open_experiment

if TYPE_CHECKING:
    from pandas import DataFrame

    from tune_encoder.experiment.portfolio import Start
    from tune_encoder.experiment.views import Comparison, OverviewEntry
    from tune_encoder.tuning.record.repair import RepairResult

_COLUMNS = ("name", "state", "trials_ended", "trials_budget")
_OF_THE_BEST = ("trial", "epoch", "metric", "value", "skill", "skill_se", "voices")
_KINDS = {
    **dict.fromkeys(("trials_ended", "trials_budget", "trial", "epoch"), "Int64"),
    **dict.fromkeys(("value", "skill", "skill_se"), "float64"),
}


@for_python
def experiments(root: str | Path = DEFAULT_ROOT) -> "DataFrame":
    """Return a row for each experiment of a root, sorted by name.

    The columns are `name`, `state` (running, stopped, finished or unreadable), `trials_ended` and
    `trials_budget`; then, of the best epoch, `trial`, `epoch`, `metric`, its `value`, `skill` with
    its standard error `skill_se`, and whether the `voices` are known or new; then the `problem` of
    one that cannot be read.

    Args:
        root: Folder of experiments.
    """
    from pandas import DataFrame

    from tune_encoder.experiment.views import overview

    columns = [*_COLUMNS, *_OF_THE_BEST, "problem"]
    frame = DataFrame([_row(each) for each in overview(expand_path(root))], columns=columns)
    return frame.astype({name: _KINDS.get(name, "object") for name in columns})


def _row(entry: "OverviewEntry") -> dict[str, object]:
    best = {**(entry["best"] or {})}
    return {
        **{name: {**entry}[name] for name in _COLUMNS},
        **{name: best.get(name) for name in _OF_THE_BEST},
        "problem": entry["problem"] or "",
    }


@for_python
def compare(names: Sequence[str], root: str | Path = DEFAULT_ROOT) -> "Comparison":
    """Compare experiments side by side.

    Args:
        names: At least two experiments.
        root: Their folder.

    Returns:
        Budget, result and settings of each, the settings that differ between the best trials, and
        warnings of what makes their scores not comparable.

    Raises:
        ConfigError: if there is no such experiment, or fewer than two are named.
    """
    from tune_encoder.experiment.views import compare_experiments

    names = _listed(names)
    if len(names) < 2:
        raise ConfigError(f"names has {len(names)} experiments; name at least 2 to compare")
    return compare_experiments(expand_path(root), names)


@for_python
def portfolio(
    names: str | Sequence[str],
    space: str | Path | Mapping[str, object] | None = None,
    size: int = 0,
    root: str | Path = DEFAULT_ROOT,
) -> "list[Start]":
    """Choose the most useful configs of earlier searches, the most useful first.

    Example:
        >>> starts = tune_encoder.portfolio(["mine", "other"], "default", size=4)
        >>> starts[0].origin, starts[0].config
        ('trial 7 of mine', {'learning_rate': 0.003, 'head': 'pca'})

    Args:
        names: Experiments to choose from.
        space: As in `search`, what the configs are for; by default the space of the first.
        size: Most configs; 0: up to 8.
        root: Folder of the experiments.

    Returns:
        Configs with their origin; a list of their `config` may be the `start` of a space.

    Raises:
        ConfigError: if there is no such experiment or space, or no config that is of use in it.
    """
    from tune_encoder.experiment.portfolio import choose_portfolio

    if size < 0:
        raise ConfigError(f"--size is {size!r}; give at least 1")
    names = _listed(names)
    if not names:
        raise ConfigError("names is empty; name at least one experiment")
    searches = [open_experiment(expand_path(root), name) for name in names]
    chosen = resolve_space(space, {}, "portfolio()") if space else searches[0].space()
    starts = choose_portfolio(searches, chosen, size)
    if not starts:
        raise ConfigError(
            f"{', '.join(names)}: no trial has both a result and a setting that the space "
            "searches within its range; name other experiments, or another --space"
        )
    return starts


@for_python
def repair(name: str, root: str | Path = DEFAULT_ROOT, force: bool = False) -> "RepairResult":
    """Rebuild a damaged or missing record from the trials' files or from its database.

    Args:
        name: The experiment.
        root: Folder of experiments.
        force: Whether an intact record is replaced too.

    Returns:
        Trials and epochs of the new record, what was lost, and where the old one is.

    Raises:
        ConfigError: if there is no such experiment.
        StorageError: if it is in use, or its record is intact, or nothing is left of it.
    """
    from tune_encoder.tuning.record.repair import repair as rebuild

    return rebuild(open_experiment(expand_path(root), name), force=force)


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
