"""Confirming the best configs of a search, for the command line and for notebooks."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tune_encoder.config import CONFIRMED_CONFIGS, LOCAL_LAUNCH, LaunchSettings
from tune_encoder.errors import Interrupted
from tune_encoder.experiment.folder import Experiment

if TYPE_CHECKING:
    from tune_encoder.experiment.confirmation import Confirmation

SEEDS = 3  # seeds of each config, if the space does not say


def _silent(line: str) -> None:
    """Announce nothing."""


def confirm(
    experiment: Experiment,
    top: int = CONFIRMED_CONFIGS,
    seeds: int | None = None,
    launch: LaunchSettings = LOCAL_LAUNCH,
    announce: Callable[[str], None] = _silent,
) -> "Confirmation":
    """Retrain the best configs with new seeds; see `tuning.confirm`.

    Args:
        experiment: The search.
        top: Configs to confirm.
        seeds: Seeds of each; by default `budget.seeds` of the space, or `SEEDS`.
        launch: Where it runs.
        announce: Called with a description of what will be trained.

    Raises:
        Interrupted: naming the command that resumes it.
    """
    if seeds is None:
        asked = experiment.space().budget.seeds
        seeds = asked if asked > 1 else SEEDS
    again = f"{experiment.command('confirm')} --top {top} --seeds {seeds}"
    return confirm_or_say_how(experiment, (top, seeds), again, launch, announce)


def confirm_or_say_how(
    experiment: Experiment,
    numbers: tuple[int, int],
    again: str,
    launch: LaunchSettings,
    announce: Callable[[str], None],
) -> "Confirmation":
    """Confirm; if it is interrupted, name the command that resumes it.

    Args:
        experiment: The search.
        numbers: How many configs, and seeds of each.
        again: That command.
        launch: Where it runs.
        announce: Called with a description of what will be trained.
    """
    from tune_encoder.tuning.confirm import confirm as confirm_configs

    try:
        return confirm_configs(experiment, *numbers, announce, launch)
    except Interrupted as error:
        message = f"stopped, everything is saved; resume with `{again}`"
        raise Interrupted(message, error.exit_code - 128) from error
