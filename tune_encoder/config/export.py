"""Settings of an export and of retraining."""

from dataclasses import dataclass
from importlib.util import find_spec

from tune_encoder.config.training import setting
from tune_encoder.errors import ConfigError

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # installed by the extra `onnx`


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """How many models an export writes, from which checkpoints, and in which formats."""

    top_k: int = setting(
        1, "number of best trials to export, each as a model folder", minimum=1, maximum=1000
    )
    trial: int | None = setting(
        None, "number of the trial to export; empty: the best", minimum=0, maximum=10_000_000
    )
    formats: str = setting(
        "auto",
        "torch, onnx or torch,onnx; auto: torch, and onnx if the extra `onnx` is installed",
        choices=("auto", "torch", "onnx", "torch,onnx", "onnx,torch"),
    )
    int8: bool = setting(False, "also quantise the ONNX files to int8")
    average: int = setting(
        1,
        "number of best epochs whose weights are averaged, if that wins on val; 1: no averaging",
        minimum=1,
        maximum=1000,
    )
    ensemble: int = setting(
        1,
        "number of best trials whose predictions are averaged, if that wins on val; 1: none",
        minimum=1,
        maximum=100,
    )

    blend: str = setting(
        "auto",
        "auto: export a weighted mean of what the best trials predict, if it wins on val",
        choices=("auto", "none"),
    )
    refit: str = setting(
        "auto",
        "always: train what is exported again, on train and val together; auto: if val has voices "
        "of train or many new ones, and test tells how good it is",
        choices=("auto", "always", "none"),
    )
    refit_seeds: int | None = setting(
        None,
        "seeds with which a network is trained again; their predictions are averaged; empty: 1, "
        "or 3 on known voices if the trials took at most five minutes",
        minimum=1,
        maximum=32,
    )

    def __post_init__(self) -> None:
        if self.trial is not None and max(self.top_k, self.ensemble) > 1:
            raise ConfigError(
                f"trial is {self.trial}; top_k and ensemble are of several trials, so leave them "
                "out or leave out trial"
            )
        if self.top_k > 1 and max(self.average, self.ensemble) > 1:
            raise ConfigError(
                f"top_k is {self.top_k}; average and ensemble make a single model, so set top_k to "
                "1 or leave out average and ensemble"
            )
        if self.refit == "always" and self.average > 1:
            raise ConfigError(
                f"refit is always, but an average of {self.average} epochs cannot be trained "
                "again; leave out average or refit"
            )
        if self.refit_seeds is not None and not self._may_refit:
            raise ConfigError(
                f"refit_seeds is {self.refit_seeds}, but nothing is trained again; set refit to "
                "always or leave out refit_seeds"
            )
        if self.formats != "auto" and self.onnx and (missing := _missing_packages()):
            raise ConfigError(
                f"formats is {self.formats}, but {', '.join(missing)} cannot be imported; install "
                "`tune-encoder[onnx]`"
            )
        if self.int8 and not self.onnx:
            raise ConfigError(
                f"int8 needs ONNX files, but formats is {self.formats}; add onnx to formats"
            )

    @property
    def _may_refit(self) -> bool:
        several = self.trial is not None or self.top_k > 1 or self.average > 1
        return self.refit == "always" or (self.refit == "auto" and not several)

    @property
    def onnx(self) -> bool:
        """Whether ONNX files are written."""
        return not _missing_packages() if self.formats == "auto" else "onnx" in self.formats

    @property
    def torch(self) -> bool:
        """Whether the torch files are written."""
        return self.formats == "auto" or "torch" in self.formats


@dataclass(frozen=True, kw_only=True)
class RetrainSettings:
    """How the best config of a search is retrained."""

    epochs: int | None = setting(
        None, "epochs of each run; empty: as in the search", minimum=1, maximum=100_000
    )
    seeds: int = setting(
        3, "number of runs, each with a seed that the search did not use", minimum=1, maximum=32
    )
    with_val: bool = setting(False, "also train on val; then only test is a fair score")


def _missing_packages() -> list[str]:
    return [name for name in ONNX_PACKAGES if find_spec(name) is None]
