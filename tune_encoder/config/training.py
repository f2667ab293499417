"""All settings of a training run, each with its default, meaning and allowed values.

Settings are flat: `TrainConfig` inherits from the small groups below, so a function can ask for
the group it needs, such as `FrontendSettings`, and be given a complete config.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tune_encoder.config.checking import SettingValue
from tune_encoder.errors import ConfigError

CLOSED_FORM = "statistics"  # the `encoder_type` that is fitted by solving, in a single epoch
CLOSED_FORM_CONFIG: dict[str, SettingValue] = {"encoder_type": CLOSED_FORM}
DEMO_CLIPS = {"train": 480, "val": 64, "test": 64}  # of the demo voices
DEMO_CLIPS_PER_VOICE = 2  # in val and test; in train a voice has one


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
    """How audio is converted to log-mel features; any change requires a new pack."""

    sample_rate: int = setting(24000, "Hz; audio is resampled to it", minimum=8000, maximum=48000)
    n_fft: int = setting(1024, "samples per analysis window", minimum=64, maximum=8192)
    hop_length: int = setting(256, "samples between frames", minimum=16, maximum=4096)
    n_mels: int = setting(80, "mel bands", minimum=8, maximum=256)
    remove_dc: bool = setting(True, "subtract the mean of each clip, a sound card's offset")


@dataclass(frozen=True, kw_only=True)
class CopySettings:
    """Further versions of each training clip, made with the pack; any change needs a new pack."""

    augment_copies: int = setting(
        0, "further versions of each training clip, as if recorded worse", minimum=0, maximum=20
    )
    copy_room_prob: float = setting(
        0.7, "probability that a copy is in a room", minimum=0.0, maximum=1.0
    )
    copy_rooms_dir: str = setting("", "folder of impulse responses; empty: rooms are simulated")
    copy_noise_prob: float = setting(
        0.7, "probability that a copy has noise of copy_noise_dir", minimum=0.0, maximum=1.0
    )
    copy_noise_dir: str = setting(
        "", "folder of recorded noise, such as MUSAN; empty: copies have no noise"
    )
    copy_noise_snr_min: float = setting(
        5.0, "lowest signal-to-noise ratio of a copy, dB", minimum=-20, maximum=120
    )
    copy_noise_snr_max: float = setting(
        25.0, "highest signal-to-noise ratio of a copy, dB", minimum=-20, maximum=120
    )
    copy_codec_prob: float = setting(
        0.5,
        "probability that a copy went through mp3, Opus or a telephone",
        minimum=0.0,
        maximum=1.0,
    )
    copy_seed: int = setting(
        0, "seed of the copies, which are the same for every seed of a run", minimum=0,
        maximum=2**31 - 1,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PackSettings(FrontendSettings, CopySettings):
    """All settings that a pack depends on."""


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """The network between features and style."""

    encoder_type: str = setting(
        "convnext",
        "kind of backbone; statistics: no network, but a closed-form regression",
        choices=("convnext", "cnn", "transformer", CLOSED_FORM),
    )
    hidden_dim: int = setting(64, "channels of the backbone", minimum=8, maximum=2048)
    num_layers: int = setting(4, "blocks of the backbone", minimum=1, maximum=48)
    num_heads: int = setting(
        4, "attention heads of the transformer and of the query head", minimum=1, maximum=64
    )
    kernel_size: int = setting(5, "kernel size of a convnext block; odd", minimum=1, maximum=31)
    dropout: float = setting(0.1, "dropout probability", minimum=0.0, maximum=0.9)
    pooling: str = setting(
        "statistics",
        "pooling over time: attentive mean and standard deviation, or the mean only",
        choices=("statistics", "mean"),
    )
    head: str = setting(
        "joint", "kind of head", choices=("joint", "pca", "lowrank", "linear", "query")
    )
    pca_components: int = setting(
        64,
        "principal components, at most: of both styles in the joint head, of style_ttl in the pca "
        "head",
        minimum=1,
        maximum=512,
    )
    head_rank: int = setting(64, "rank of the lowrank head", minimum=1, maximum=1024)
    gradient_checkpointing: bool = setting(
        False, "recompute activations in the backward pass: less memory, slower"
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

    epochs: int = setting(100, "passes over the training audio", minimum=1, maximum=100_000)
    epoch_of: str = setting(
        "audio",
        "what an epoch passes over: the seconds of audio, or each clip once whatever its length",
        choices=("audio", "clips"),
    )
    steps_per_epoch: int = setting(
        16,
        "least optimizer steps of an epoch of audio; crops are drawn repeatedly to fill them",
        minimum=1,
        maximum=100_000,
    )
    batch_size: int = setting(32, "crops per optimizer step", minimum=1, maximum=65536)
    learning_rate: float = setting(1e-3, "peak learning rate", minimum=1e-8, maximum=10.0)
    weight_decay: float = setting(1e-2, "weight decay of AdamW", minimum=0.0, maximum=10.0)
    warmup_epochs: float = setting(5.0, "epochs of linear warm-up", minimum=0.0, maximum=10_000)
    gradient_clip: float = setting(
        1.0, "largest gradient norm; 0: no clipping", minimum=0.0, maximum=1e6
    )
    early_stopping_patience: int = setting(
        10,
        "epochs without a better validation loss before training stops; 0: never",
        minimum=0,
        maximum=100_000,
    )
    use_amp: bool = setting(True, "mixed precision where it is faster")
    amp_dtype: str = setting(
        "auto",
        "type for mixed precision; auto: float16 on CUDA, bfloat16 on CPUs that support it",
        choices=("auto", "bfloat16"),
    )
    gradient_accumulation: int = setting(
        1, "parts in which a batch is computed, to save memory", minimum=1, maximum=65536
    )


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """Augmentation of the training features; the defaults do not change the label."""

    augment_prob: float = setting(
        0.5, "probability of each augmentation, per clip", minimum=0.0, maximum=1.0
    )
    augment_noise_snr_min: float = setting(
        20.0, "lowest signal-to-noise ratio of added noise, dB", minimum=-20, maximum=120
    )
    augment_noise_snr_max: float = setting(
        40.0, "highest signal-to-noise ratio of added noise, dB", minimum=-20, maximum=120
    )
    augment_gain_db: float = setting(3.0, "largest gain up or down, dB", minimum=0.0, maximum=60.0)
    augment_bandlimit_hz: float = setting(
        4000.0,
        "lowest cut-off of the low-pass filter, Hz; 0: no filter",
        minimum=0.0,
        maximum=24000.0,
    )
    spec_augment_time_mask: int = setting(20, "longest time mask, frames", minimum=0, maximum=1000)
    spec_augment_freq_mask: int = setting(10, "widest mel mask, bands", minimum=0, maximum=256)
    augment_time_stretch: float = setting(
        0.0,
        "largest change of tempo, as a fraction; the label style_dp no longer fits",
        minimum=0,
        maximum=0.5,
    )
    augment_pitch_shift: float = setting(
        0.0,
        "largest change of pitch, in semitones; the label style_ttl no longer fits",
        minimum=0,
        maximum=12,
    )


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Where a run reads and writes, and how."""

    data_dir: str = setting("", "data set, a folder with train/ and val/; empty: the demo voices")
    checkpoint_dir: str = setting("checkpoints", "folder of a run of `train`")
    init_from: str = setting(
        "", "exported model whose weights and network training starts from; empty: random weights"
    )
    init_sha256: str = setting(
        "", "SHA-256 of the weights of init_from, set when training begins; empty: any"
    )
    crop_seconds: float = setting(
        2.0, "length of a training crop, seconds", minimum=0.1, maximum=60.0
    )
    crop_seconds_min: float = setting(
        0.0,
        "draw crops of this length up to crop_seconds, each repeated until it has that length, as "
        "short recordings are; 0: all have it",
        minimum=0.0,
        maximum=60.0,
    )
    seed: int = setting(0, "seed of all randomness in a run", minimum=0, maximum=2**31 - 1)
    device: str = setting("auto", "device to compute on", choices=("auto", "cuda", "mps", "cpu"))
    num_threads: int = setting(
        0,
        "CPU threads; 0: 1, in a search the cores of a trial. More are faster on idle cores only",
        minimum=0,
        maximum=1024,
    )
    num_workers: int = setting(0, "batches prefetched by a thread", minimum=0, maximum=64)
    save_interval: int = setting(5, "epochs between kept checkpoints", minimum=1, maximum=100_000)
    keep_checkpoints: int = setting(
        3, "number of newest checkpoint_epoch_N.pt to keep", minimum=1, maximum=100_000
    )
    use_tensorboard: bool = setting(True, "write TensorBoard events")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(
    PackSettings,
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


def augmentation_warnings(config: AugmentSettings) -> list[str]:
    """Warn of augmentations after which a clip's label no longer fits."""
    changes = {"augment_time_stretch": "tempo", "augment_pitch_shift": "pitch"}
    return [
        f"{name} is {getattr(config, name):g}: it changes the {what} of a clip but not its label, "
        f"so the encoder learns to ignore {what}"
        for name, what in changes.items()
        if getattr(config, name) > 0
    ]


def _conflicts(config: TrainConfig) -> Iterator[str]:
    """Settings that are valid one by one but not together."""
    if config.hop_length > config.n_fft:
        yield (
            f"hop_length is {config.hop_length}; it must be at most n_fft ({config.n_fft}), "
            "or samples would be skipped"
        )
    if config.kernel_size % 2 == 0:
        yield f"kernel_size is {config.kernel_size}; it must be odd, or frames would shift"
    if _uses_attention_heads(config) and config.hidden_dim % config.num_heads:
        yield (
            f"hidden_dim is {config.hidden_dim}; it must be a multiple of "
            f"num_heads ({config.num_heads})"
        )
    if config.crop_seconds_min > config.crop_seconds:
        yield (
            f"crop_seconds_min is {config.crop_seconds_min:g}; it must be at most crop_seconds "
            f"({config.crop_seconds:g})"
        )
    if config.augment_noise_snr_min > config.augment_noise_snr_max:
        yield (
            f"augment_noise_snr_min is {config.augment_noise_snr_min:g}; it must be at most "
            f"augment_noise_snr_max ({config.augment_noise_snr_max:g})"
        )
    if config.copy_noise_snr_min > config.copy_noise_snr_max:
        yield (
            f"copy_noise_snr_min is {config.copy_noise_snr_min:g}; it must be at most "
            f"copy_noise_snr_max ({config.copy_noise_snr_max:g})"
        )
    if config.augment_copies and not _changes_copies(config):
        yield (
            f"augment_copies is {config.augment_copies}, but every copy would be as the clip; set "
            "copy_room_prob, copy_codec_prob, or copy_noise_prob and copy_noise_dir"
        )


def _changes_copies(config: CopySettings) -> bool:
    noise_prob = config.copy_noise_prob if config.copy_noise_dir else 0.0
    return max(config.copy_room_prob, config.copy_codec_prob, noise_prob) > 0


def _uses_attention_heads(config: EncoderSettings) -> bool:
    return config.encoder_type == "transformer" or config.head == "query"
