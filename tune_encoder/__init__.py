"""Hyperparameter search for encoders that turn a recording into a Supertonic voice style."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tune_encoder.api.jobs.client import Client
    from tune_encoder.api.results import Experiment
    from tune_encoder.api.runs import Run
    from tune_encoder.api.searching import fork, resume, search

__version__ = "0.1.0"
__all__ = ["Client", "Experiment", "Run", "__version__", "fork", "resume", "search"]

_MODULES = {  # imported on first use, so that importing this package is fast
    "Client": "tune_encoder.api.jobs.client",
    "Experiment": "tune_encoder.api.results",
    "Run": "tune_encoder.api.runs",
    "fork": "tune_encoder.api.searching",
    "resume": "tune_encoder.api.searching",
    "search": "tune_encoder.api.searching",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
