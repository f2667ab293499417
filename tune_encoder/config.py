"""Every setting with its default, meaning and check; and the YAML files that hold settings.

Settings are flat: `TrainConfig` joins the small groups below, so a function asks for the group
it needs (`FrontendSettings`) and a whole config can be handed to it.
"""

import dataclasses
import difflib
import math
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tune_encoder.errors import ConfigError

DEMO_COUNTS = {"train": 480, "val": 64, "test": 64}  # demo voices, one clip each
DEFAULT_ROOT = Path("runs")  # of experiments
MAX_YAML_BYTES = 1_000_000  # no config is this long; a cap keeps a wrong file from filling memory
MAX_EXACT_INT = 2**53  # a float holds every whole number below it; a far larger one overflows
MAX_YAML_DEPTH = 32  # conditions nest a few levels; far below Python's recursion limit

Settings = TypeVar("Settings")


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """Return a dataclass field with its help text and its inclusive range or its choices."""
    limits = {"minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True, kw_only=True)
class FrontendSettings:
    """How audio becomes log-mel features; a change makes a new pack."""

    sample_rate: int = setting(24000, "Hz; audio is resampled to it", minimum=8000, maximum=48000)
    n_fft: int = setting(1024, "samples per analysis window", minimum=64, maximum=8192)
    hop_length: int = setting(256, "samples between frames", minimum=16, maximum=4096)
    n_mels: int = setting(80, "mel bands", minimum=8, maximum=256)


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """The network between features and style."""

    encoder_type: str = setting(
        "convnext", "kind of backbone", choices=("convnext", "cnn", "transformer")
    )
    hidden_dim: int = setting(64, "channels of the backbone", minimum=8, maximum=2048)
    num_layers: int = setting(4, "blocks of the backbone", minimum=1, maximum=48)
    num_heads: int = setting(
        4, "attention heads of the transformer and of the query head", minimum=1, maximum=64
    )
    kernel_size: int = setting(5, "frames a convnext block sees; odd", minimum=1, maximum=31)
    dropout: float = setting(0.1, "share of activations dropped", minimum=0.0, maximum=0.9)
    pooling: str = setting(
        "statistics",
        "what is kept over time: attentive mean and deviation, or the mean alone",
        choices=("statistics", "mean"),
    )
    head: str = setting(
        "pca", "how features become a style", choices=("pca", "lowrank", "linear", "query")
    )
    pca_components: int = setting(
        64, "components of style_ttl in the pca head", minimum=1, maximum=512
    )
    head_rank: int = setting(64, "rank of the lowrank head", minimum=1, maximum=1024)
    gradient_checkpointing: bool = setting(
        False, "recompute activations in the backward pass: less memory, more time"
    )


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """The training loss. The validation loss of a search does not depend on these."""

    lambda_ttl: float = setting(1.0, "weight of the MSE of style_ttl", minimum=0.0, maximum=1e4)
    lambda_dp: float = setting(1.0, "weight of the MSE of style_dp", minimum=0.0, maximum=1e4)
    lambda_cosine: float = setting(0.1, "weight of 1 - cosine", minimum=0.0, maximum=1e4)
    loss_scale: str = setting(
        "variance",
        "'variance' divides each MSE by its variance over the training voices",
        choices=("variance", "none"),
    )


@dataclass(frozen=True, kw_only=True)
class OptimSettings:
    """AdamW, its schedule, and when to stop."""

    epochs: int = setting(100, "passes over the training clips", minimum=1, maximum=100_000)
    batch_size: int = setting(32, "clips per optimizer step", minimum=1, maximum=65536)
    learning_rate: float = setting(1e-3, "peak learning rate", minimum=1e-8, maximum=10.0)
    weight_decay: float = setting(1e-2, "AdamW's decoupled decay", minimum=0.0, maximum=10.0)
    warmup_epochs: float = setting(5.0, "epochs of linear warm-up", minimum=0.0, maximum=10_000)
    gradient_clip: float = setting(
        1.0, "largest gradient norm; 0 does not clip", minimum=0.0, maximum=1e6
    )
    early_stopping_patience: int = setting(
        10, "epochs without a better validation loss; 0 never stops", minimum=0, maximum=100_000
    )
    use_amp: bool = setting(True, "mixed precision where the device gains by it")
    amp_dtype: str = setting(
        "auto",
        "narrow type: auto is float16 on CUDA, bfloat16 on CPUs made for it",
        choices=("auto", "bfloat16"),
    )
    gradient_accumulation: int = setting(
        1, "parts a batch is computed in: less memory", minimum=1, maximum=65536
    )


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """Changes to training features; none touches what the label says."""

    augment_prob: float = setting(
        0.5, "chance of each augmentation, per clip", minimum=0.0, maximum=1.0
    )
    augment_noise_snr_min: float = setting(20.0, "dB, loudest noise", minimum=-20, maximum=120)
    augment_noise_snr_max: float = setting(40.0, "dB, softest noise", minimum=-20, maximum=120)
    augment_gain_db: float = setting(3.0, "largest gain up or down", minimum=0.0, maximum=60.0)
    augment_bandlimit_hz: float = setting(
        4000.0, "lowest cut-off of the low-pass; 0 leaves it out", minimum=0.0, maximum=24000.0
    )
    spec_augment_time_mask: int = setting(20, "longest time mask, frames", minimum=0, maximum=1000)
    spec_augment_freq_mask: int = setting(10, "widest mel mask, bands", minimum=0, maximum=256)
    augment_time_stretch: float = setting(
        0.0,
        "largest change of tempo, as a share; changes what style_dp says",
        minimum=0,
        maximum=0.5,
    )
    augment_pitch_shift: float = setting(
        0.0,
        "largest change of pitch, semitones; changes what style_ttl says",
        minimum=0,
        maximum=12,
    )


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Where a run reads and writes, and how."""

    data_dir: str = setting("", "folder with train/ and val/; empty means the demo voices")
    checkpoint_dir: str = setting("checkpoints", "folder of a run by hand")
    crop_seconds: float = setting(2.0, "length of a training crop", minimum=0.1, maximum=60.0)
    seed: int = setting(0, "seed of everything random in a run", minimum=0, maximum=2**31 - 1)
    device: str = setting("auto", "where to train", choices=("auto", "cuda", "mps", "cpu"))
    num_threads: int = setting(0, "CPU threads; 0 takes torch's choice", minimum=0, maximum=1024)
    num_workers: int = setting(0, "batches assembled ahead, by a thread", minimum=0, maximum=64)
    save_interval: int = setting(5, "epochs between kept checkpoints", minimum=1, maximum=100_000)
    keep_checkpoints: int = setting(
        3, "newest checkpoint_epoch_N.pt to keep", minimum=1, maximum=100_000
    )
    use_tensorboard: bool = setting(True, "write TensorBoard events")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(
    FrontendSettings,
    EncoderSettings,
    LossSettings,
    OptimSettings,
    AugmentSettings,
    RunSettings,
):
    """Everything one training run depends on."""

    def __post_init__(self) -> None:
        for problem in _conflicts(self):
            raise ConfigError(problem)


@dataclass(frozen=True, kw_only=True)
class BudgetSettings:
    """How much a search may spend."""

    trials: int = setting(16, "configs to try", minimum=1, maximum=100_000)
    epochs: int = setting(27, "epochs of a trial that is never stopped", minimum=1, maximum=100_000)


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    """Which trials are stopped early."""

    name: str = setting("asha", "rule that stops trials", choices=("asha", "none"))
    grace_period: int = setting(
        1, "epochs before a trial can be stopped", minimum=1, maximum=10_000
    )
    reduction_factor: float = setting(
        3.0, "one in this many trials goes on at each rung", minimum=1.1, maximum=100.0
    )


@dataclass(frozen=True, kw_only=True)
class SearcherSettings:
    """Which configs are proposed."""

    name: str = setting("tpe", "sampler of configs", choices=("tpe", "random"))
    startup_trials: int = setting(
        8, "random configs before the model of the searcher", minimum=1, maximum=10_000
    )
    seed: int = setting(0, "seed of the proposals and of every trial", minimum=0, maximum=2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class ResourceSettings:
    """What a trial gets, and how many run at once."""

    cpus: int = setting(1, "CPU cores of a trial", minimum=1, maximum=1024)
    gpus: float = setting(0.0, "GPUs of a trial; a fraction shares one", minimum=0.0, maximum=64.0)
    concurrent: int = setting(0, "trials at once; 0 fills the machine", minimum=0, maximum=10_000)
    retries: int = setting(2, "new starts of a trial whose worker died", minimum=0, maximum=100)


def label_warnings(config: AugmentSettings) -> list[str]:
    """Say which augmentations change what the style of a clip should be."""
    changes = {"augment_time_stretch": "tempo", "augment_pitch_shift": "pitch"}
    return [
        f"{name} is {getattr(config, name):g}: it changes the {what} of a clip but not its style, "
        "so the encoder learns to ignore it"
        for name, what in changes.items()
        if getattr(config, name) > 0
    ]


def cache_dir() -> Path:
    """Where demo voices and packs are kept: `TUNE_ENCODER_CACHE`, or ~/.cache/tune_encoder."""
    return Path(os.environ.get("TUNE_ENCODER_CACHE") or Path.home() / ".cache" / "tune_encoder")


def _conflicts(config: TrainConfig) -> Iterator[str]:
    """Settings that are fine alone but not together."""
    if config.hop_length > config.n_fft:
        yield (
            f"hop_length is {config.hop_length}; it must be at most n_fft ({config.n_fft}), "
            "or samples would be skipped"
        )
    if config.kernel_size % 2 == 0:
        yield f"kernel_size is {config.kernel_size}; it must be odd, or frames would shift"
    if _uses_heads(config) and config.hidden_dim % config.num_heads:
        yield (
            f"hidden_dim is {config.hidden_dim}; it must be a multiple of "
            f"num_heads ({config.num_heads})"
        )
    if config.augment_noise_snr_min > config.augment_noise_snr_max:
        yield (
            f"augment_noise_snr_min is {config.augment_noise_snr_min:g}; it must be at most "
            f"augment_noise_snr_max ({config.augment_noise_snr_max:g})"
        )


def _uses_heads(config: EncoderSettings) -> bool:
    return config.encoder_type == "transformer" or config.head == "query"


# --- from mappings -----------------------------------------------------------------------------


def from_mapping(kind: type[Settings], mapping: Mapping[str, Any], where: str) -> Settings:
    """Build settings of `kind`, checking every key, type and range.

    Args:
        kind: One of the dataclasses whose fields are made by `setting`.
        mapping: Names and values, as YAML reads them.
        where: The file or option they come from, for the message.

    Raises:
        ConfigError: naming `where`, the key, its value, and what is allowed.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    known = typing.get_type_hints(kind)
    values = {}
    for name, value in mapping.items():
        if name not in fields:
            raise ConfigError(f"{where}: {unknown_name(name, fields)}")
        values[name] = checked_value(fields[name], known[name], value, where)
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def unknown_name(name: object, known: typing.Iterable[str], noun: str = "setting") -> str:
    """Say that `name` is not known and which known name is nearest."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown {noun} {name!r}; {hint}"


def checked_value(field: "dataclasses.Field[Any]", kind: Any, value: Any, where: str) -> Any:
    """Return `value` as the field's type, or raise a `ConfigError` with what is allowed."""
    accepted = _convert(kind, value)
    if accepted is _REFUSED or not _in_limits(field, accepted):
        raise ConfigError(f"{where}: {field.name} is {value!r}; it must be {allowed(field, kind)}")
    return accepted


_REFUSED = object()
_TYPE_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _convert(kind: Any, value: Any) -> Any:
    """`value` as `kind`, or `_REFUSED`; the only conversion is from whole number to number."""
    if isinstance(kind, types.UnionType):
        options = (_convert(option, value) for option in typing.get_args(kind))
        return next((option for option in options if option is not _REFUSED), _REFUSED)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < MAX_EXACT_INT else _REFUSED
    if kind is int and isinstance(value, bool):
        return _REFUSED
    if isinstance(value, float) and not math.isfinite(value):
        return _REFUSED
    return value if isinstance(value, kind) else _REFUSED


def _in_limits(field: "dataclasses.Field[Any]", value: Any) -> bool:
    limits = field.metadata
    if value is None:
        return True
    if limits["choices"] is not None:
        return value in limits["choices"]
    low, high = limits["minimum"], limits["maximum"]
    return (low is None or value >= low) and (high is None or value <= high)


def allowed(field: "dataclasses.Field[Any]", kind: Any) -> str:
    """Say in words which values the field takes."""
    limits = field.metadata
    if limits["choices"] is not None:
        return "one of " + ", ".join(limits["choices"])
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    words = " or ".join(_TYPE_WORDS.get(each, "empty") for each in kinds)
    low, high = limits["minimum"], limits["maximum"]
    if low is not None and high is not None:
        return f"{words} from {low:g} to {high:g}"
    return words if low is None else f"{words} of at least {low:g}"


def to_mapping(settings: Any) -> dict[str, Any]:
    """Return the settings as plain names and values, ready for YAML or JSON."""
    return dataclasses.asdict(settings)


# --- YAML --------------------------------------------------------------------------------------


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without its traps: duplicate keys, aliases, tags, deep nesting, `1e-3` as text."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise _problem(self.here(), "aliases (*name) are not allowed")
        if self.here().tag is not None:
            raise _problem(self.here(), "tags (!name) are not allowed")
        if self.depth >= MAX_YAML_DEPTH:
            raise _problem(self.here(), f"nested deeper than {MAX_YAML_DEPTH} levels")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def here(self) -> Any:
        return self.peek_event()  # type: ignore[no-untyped-call]

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _problem(key_node, f"the key {key!r} is not a text")
            if key in seen:
                raise _problem(key_node, f"duplicate key {key!r}")
            seen.add(key)
        return super().construct_mapping(node, deep)


class _PlainDumper(yaml.SafeDumper):
    """Writes what `_StrictLoader` reads: no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# YAML 1.1 wants a dot and a sign in a float, so PyYAML reads the usual 1e-3 and 1.5e3 as text.
_FLOAT = re.compile(r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
for _kind in (_StrictLoader, _PlainDumper):  # the dumper has to quote such a text
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def _problem(at: Any, message: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=at.start_mark)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping.

    Raises:
        ConfigError: naming the file, and the line where there is one.
    """
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_YAML_BYTES} bytes; is it a config?")
        return parse_yaml(path.read_text(encoding="utf-8-sig"), str(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; give the path of a YAML file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Parse one YAML mapping; see `read_yaml`."""
    value = _parse(text, where)
    if value is None:
        raise ConfigError(f"{where}: empty; write `name: value` lines")
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: holds a {type(value).__name__}; write `name: value` lines")
    return value


def parse_assignment(text: str) -> tuple[str, Any]:
    """Parse `key=value` of the command line; the value is read as YAML reads it."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"--set {text}: write it as key=value, such as learning_rate=1e-3")
    parsed = _parse(value, f"--set {name}")
    if parsed is None:
        raise ConfigError(f"--set {text}: has no value; write it as key=value")
    return name.strip(), parsed


def _parse(text: str, where: str) -> Any:
    try:
        # The strict loader is a safe one, and this is where the ban on yaml.load leads.
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506, TID251
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{where}{line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{where}: not valid YAML: {error}") from error


def write_yaml(mapping: Mapping[str, Any]) -> str:
    """Return YAML text that `read_yaml` reads back to equal values."""
    return yaml.dump(dict(mapping), Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)


def load_config(
    path: Path | None, overrides: Mapping[str, Any], start: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Settings of a run: defaults, then `start`, then the file, then `overrides`.

    Args:
        path: A YAML file of settings.
        overrides: What the command line says; None overrides nothing.
        start: The settings of a checkpoint to go on from.
    """
    values = {} if path is None else read_yaml(path)
    where = "command line" if path is None else str(path)
    if path is not None:
        from_mapping(TrainConfig, values, where)  # so that an error names the file it is in
        _resolve_data_dir(values, path.parent)
    given = {name: value for name, value in overrides.items() if value is not None}
    everything = {**(start or {}), **values, **given}
    return from_mapping(TrainConfig, everything, "command line" if given else where)


def _resolve_data_dir(values: dict[str, Any], base: Path) -> None:
    """A path in a YAML file is relative to the file."""
    if values.get("data_dir"):
        values["data_dir"] = str((base / values["data_dir"]).resolve())
