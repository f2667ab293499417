"""What an export writes."""

from dataclasses import dataclass
from importlib.util import find_spec

from tune_encoder.config.training import setting
from tune_encoder.errors import ConfigError

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # those of the extra


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """How many models an export writes, of what, and as which files."""

    top_k: int = setting(1, "best trials, each a model folder", minimum=1, maximum=1000)
    formats: str = setting(
        "auto",
        "files of the model; auto is torch, and onnx where its extra is installed",
        choices=("auto", "torch", "onnx", "torch,onnx", "onnx,torch"),
    )
    int8: bool = setting(False, "also quantise the ONNX files to int8")
    average: int = setting(
        1, "best epochs of the trial whose weights are averaged; 1 is none", minimum=1, maximum=1000
    )
    ensemble: int = setting(
        1, "best trials whose predictions are averaged; 1 is none", minimum=1, maximum=100
    )

    def __post_init__(self) -> None:
        if self.top_k > 1 and max(self.average, self.ensemble) > 1:
            raise ConfigError(
                f"top_k is {self.top_k}; average and ensemble make one model, so give it up or them"
            )
        if self.formats != "auto" and self.onnx and (missing := _missing_packages()):
            raise ConfigError(
                f"formats is {self.formats}, but {', '.join(missing)} cannot be imported; install "
                "`tune-encoder[onnx]`"
            )
        if self.int8 and not self.onnx:
            raise ConfigError(f"int8 needs ONNX files, formats is {self.formats}; name onnx there")

    @property
    def onnx(self) -> bool:
        """Whether ONNX files are written."""
        return not _missing_packages() if self.formats == "auto" else "onnx" in self.formats

    @property
    def torch(self) -> bool:
        """Whether what torch reads is kept."""
        return self.formats == "auto" or "torch" in self.formats


@dataclass(frozen=True, kw_only=True)
class RetrainSettings:
    """How the winner of a search is trained again."""

    epochs: int | None = setting(
        None, "epochs of each run; none is those of the search", minimum=1, maximum=100_000
    )
    seeds: int = setting(3, "runs, each with a seed the search did not use", minimum=1, maximum=32)
    with_val: bool = setting(False, "also train on the validation clips")


def _missing_packages() -> list[str]:
    return [name for name in ONNX_PACKAGES if find_spec(name) is None]
