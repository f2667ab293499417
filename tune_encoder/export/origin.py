"""Where the models of an export come from: a search, or a single run by hand."""

from dataclasses import dataclass

from tune_encoder.experiment.confirmation import FOLDER
from tune_encoder.experiment.folder import Experiment
from tune_encoder.export.contents import OriginMetrics, SearchCost


@dataclass(frozen=True)
class Origin:
    """What a model folder says of the search or run that its models were trained in."""

    name: str
    """Name of the experiment, or of the run's folder."""
    seed: int
    """Seed of the search or of the run."""
    versions: dict[str, str]
    """Versions of the packages when it began, as far as they were recorded."""
    metrics: OriginMetrics
    """What metrics.json says of it."""


def search_origin(experiment: Experiment) -> Origin:
    """Describe a search: its space and cost, and those of its confirmations."""
    return Origin(
        experiment.name,
        experiment.space().searcher.seed,
        experiment.read_search()["versions"],
        {
            "space": _space(experiment),
            "search": _cost(experiment),
            "confirmation": [_cost(each) for each in _confirming(experiment)],
        },
    )


def _space(experiment: Experiment) -> dict[str, str]:
    """The searched settings, each with its range or choices as text."""
    return {
        each.name: ", ".join(map(str, each.values))
        if each.kind == "choice"
        else f"{each.values[0]:g} to {each.values[1]:g}{', logarithmic' * each.log}"
        for each in experiment.space().parameters
    }


def _confirming(experiment: Experiment) -> list[Experiment]:
    found = experiment.path.glob(f"{FOLDER}/*/study.db")
    return [Experiment(path.parent) for path in sorted(found)]


def _cost(experiment: Experiment) -> SearchCost:
    """The cost of a search."""
    trials = experiment.trials(fields=("seconds",))
    rows = [row for trial in trials for row in trial.rows]
    states = [trial.state for trial in trials]
    return {
        "trials": {state: states.count(state) for state in sorted(set(states))},
        "epochs": len(rows),
        "trial_hours": round(sum(row["seconds"] for row in rows) / 3600, 4),
    }
