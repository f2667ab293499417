"""Hyperparameter search for encoders that turn a recording into a Supertonic voice style."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tune_encoder.api import fork, resume, search
    from tune_encoder.results import Experiment
    from tune_encoder.service.client import Client

__version__ = "0.1.0"
__all__ = ["Client", "Experiment", "__version__", "fork", "resume", "search"]

_MODULES = {  # loaded when what they hold is used, so that importing this package is light
    "Client": "tune_encoder.service.client",
    "Experiment": "tune_encoder.results",
    "fork": "tune_encoder.api",
    "resume": "tune_encoder.api",
    "search": "tune_encoder.api",
}


class _Package(ModuleType):
    """This package, in which `search` is the function and not the folder of that name.

    Python binds a submodule to its package when it is first imported, which would replace the
    function in the middle of a session. Imports `from tune_encoder.search.x` find it all the same.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name == "search" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
