"""Hyperparameter search for encoders that turn a recording into a Supertonic voice style."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tune_encoder.api.cloning import clone
    from tune_encoder.api.data_sets import (
        check_data,
        demo_data,
        generate_data,
        import_data,
        pack_data,
        repair_data,
    )
    from tune_encoder.api.experiments import compare, experiments, portfolio, repair
    from tune_encoder.api.jobs.client import Client
    from tune_encoder.api.listening import listen
    from tune_encoder.api.models import evaluate, evaluate_folds, verify
    from tune_encoder.api.planning import plan
    from tune_encoder.api.results import Experiment
    from tune_encoder.api.runs import Run
    from tune_encoder.api.searching import fork, resume, search
    from tune_encoder.api.training_runs import train

__version__ = "0.1.0"
__all__ = [
    "Client",
    "Experiment",
    "Run",
    "__version__",
    "check_data",
    "clone",
    "compare",
    "demo_data",
    "evaluate",
    "evaluate_folds",
    "experiments",
    "fork",
    "generate_data",
    "import_data",
    "listen",
    "pack_data",
    "plan",
    "portfolio",
    "repair",
    "repair_data",
    "resume",
    "search",
    "train",
    "verify",
]

_MODULES = {  # imported on first use, so that importing this package is fast
    "Client": "tune_encoder.api.jobs.client",
    "Experiment": "tune_encoder.api.results",
    "Run": "tune_encoder.api.runs",
    "check_data": "tune_encoder.api.data_sets",
    "clone": "tune_encoder.api.cloning",
    "compare": "tune_encoder.api.experiments",
    "demo_data": "tune_encoder.api.data_sets",
    "evaluate": "tune_encoder.api.models",
    "evaluate_folds": "tune_encoder.api.models",
    "experiments": "tune_encoder.api.experiments",
    "fork": "tune_encoder.api.searching",
    "generate_data": "tune_encoder.api.data_sets",
    "import_data": "tune_encoder.api.data_sets",
    "listen": "tune_encoder.api.listening",
    "pack_data": "tune_encoder.api.data_sets",
    "plan": "tune_encoder.api.planning",
    "portfolio": "tune_encoder.api.experiments",
    "repair": "tune_encoder.api.experiments",
    "repair_data": "tune_encoder.api.data_sets",
    "resume": "tune_encoder.api.searching",
    "search": "tune_encoder.api.searching",
    "train": "tune_encoder.api.training_runs",
    "verify": "tune_encoder.api.models",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
