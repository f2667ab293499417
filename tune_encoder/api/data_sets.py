"""Data sets from Python: make, generate, import, check, pack and repair them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from tune_encoder.api.options import (
    check_choice,
    check_option_names,
    check_whole_number,
    expand_if_given,
    expand_path,
)
from tune_encoder.api.wording import for_python
from tune_encoder.config import (
    DEFAULT_MODEL,
    DEMO_CLIPS_PER_VOICE,
    SUPERTONIC_MODELS,
    FrontendSettings,
    GenerationSettings,
    RunSettings,
    TrainConfig,
    from_mapping,
)
from tune_encoder.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from tune_encoder.data.checking import DataReport
    from tune_encoder.data.importing import ImportReport
    from tune_encoder.data.pack import PackedData
    from tune_encoder.data.pairing import Pairing
    from tune_encoder.data.repairing import SplitRepair
    from tune_encoder.data.splitting import SplitRequest
    from tune_encoder.speech.provenance import Summary

_Path = str | Path
SPLIT_WAYS = ("voices", "time")
_VOICES_OF = {"train": "voices", "val": "val_voices", "test": "test_voices"}


class DemoOptions(TypedDict, total=False):
    """All keyword options of `demo_data`."""

    voices: int | None
    """Voices in train; by default as many as have the clips of the built-in demo."""
    val_voices: int | None
    """Voices in val; by default as many as have the clips of the built-in demo."""
    test_voices: int | None
    """Voices in test; by default as many as have the clips of the built-in demo."""
    clips_per_voice: int | None
    """Recordings of each voice of val and test; a voice of train has one."""
    seed: int | None
    """Seed of the voices."""


class ImportOptions(TypedDict, total=False):
    """All keyword options of `import_data`."""

    manifest: _Path | None
    """CSV, TSV or JSON lines with audio, style, speaker, text, lang and split; without `audio`."""
    split: str | None
    """"voices" holds out whole voices, "time" cuts each clip; by default what the data allows."""
    hold_out: Sequence[str]
    """Names of voices for test alone."""
    test: _Path | None
    """Folder of recordings that make test."""
    skip_bad: bool
    """Whether what cannot be used is left out and listed; else nothing is written then."""
    dry_run: bool
    """Whether all is read and nothing written."""
    sample_rate: int | None
    """Of the samples that are written, in Hz."""
    seed: int | None
    """Seed of the held-out voices."""


class GenerateOptions(TypedDict, total=False):
    """All keyword options of `generate_data`."""

    model: str | None
    """Name of the model that speaks, which Supertonic's package downloads once."""
    model_dir: _Path | None
    """Folder of the model's files, in place of where the package keeps them."""
    presets: _Path | None
    """Folder of presets NAME.json, in place of those of the model."""
    styles: _Path | None
    """Folder of your own styles NAME.json, which become voices too."""
    texts: _Path | None
    """File of texts, one a line after LANG and a tab; by default 304 sentences."""
    hold_out: Sequence[str]
    """Presets or styles for test alone, which no voice is mixed of."""
    workers: int | None
    """Processes that speak, each on a core; by default one for each core, up to 8."""
    voices: int | None
    """Number of voices, presets and styles among them."""
    clips_per_voice: int | None
    """Clips of each voice."""
    langs: str | None
    """Languages, as "en,ko"; by default all of the texts that the model speaks."""
    steps: str | None
    """Numbers of denoising steps, as "5,10", of which each clip draws one."""
    speed: str | None
    """Range of the speed, as "0.9:1.15", of which each clip draws one."""
    seed: int | None
    """Seed of the voices and clips."""
    convex_share: float | None
    """Share of the mixed voices that lie between two to four others, from 0 to 1."""
    apart_share: float | None
    """Share of the mixed voices whose timbre and rhythm are mixed apart, from 0 to 1."""
    spread: float | None
    """Standard deviation of the other mixed voices, in that of the presets."""
    draws: int | None
    """Draws of a clip before it is left out, if each is refused."""


class DemoCounts(TypedDict):
    """What a demo data set consists of, by split."""

    clips: dict[str, int]
    voices: dict[str, int]


@for_python
def demo_data(folder: _Path, **options: "Unpack[DemoOptions]") -> DemoCounts:
    """Make a data set of synthetic voices, and return how many clips and voices it has.

    Example:
        >>> tune_encoder.demo_data("voices", voices=24, val_voices=8, test_voices=8)["voices"]
        {'train': 24, 'val': 8, 'test': 8}

    Args:
        folder: New folder.
        options: `voices`, `val_voices`, `test_voices`, `clips_per_voice` and `seed`.

    Raises:
        ConfigError: if a number is too small, or the folder is in use.
    """
    from tune_encoder.data.demo import demo_voices, make_demo

    given = check_option_names(options, DemoOptions.__annotations__, "demo_data()")
    clips: int = given.get("clips_per_voice", DEMO_CLIPS_PER_VOICE)
    check_whole_number(clips, 1, "clips_per_voice")
    voices = {
        split: given.get(_VOICES_OF[split], count) for split, count in demo_voices(clips).items()
    }
    for split, count in voices.items():
        check_whole_number(count, 0, _VOICES_OF[split])
    if min(voices["train"], voices["val"]) < 1:
        raise ConfigError("--voices and --val-voices must be at least 1")
    make_demo(
        expand_path(folder),
        **{_VOICES_OF[split]: count for split, count in voices.items()},
        seed=_checked(RunSettings, given, "seed"),
        clips_per_voice=clips,
    )
    counts = {split: n if split == "train" else clips * n for split, n in voices.items()}
    return DemoCounts(clips=counts, voices=voices)


def _checked(kind: type[Any], given: dict[str, Any], name: str) -> Any:
    """Return a setting that may be given, checked, else its default."""
    return getattr(from_mapping(kind, _only(given, name), "command line"), name)


@for_python
def generate_data(folder: _Path, **options: "Unpack[GenerateOptions]") -> "Summary":
    """Make a data set that Supertonic speaks, from its presets and mixtures of them.

    Example:
        >>> tune_encoder.generate_data("voices", voices=200, langs="en,ko").voices
        200

    Args:
        folder: New folder; one that was begun with the same options is completed.
        options: Where models, styles and texts are: `model`, `model_dir`, `presets`, `styles`,
            `texts` and `hold_out`; `workers`; and `voices`, `clips_per_voice`, `langs`, `steps`,
            `speed`, `seed`, `convex_share`, `apart_share`, `spread` and `draws`.

    Returns:
        Numbers of clips and voices, seconds of speech, and what was left out.

    Raises:
        ConfigError: if an option is unknown or out of range.
        StorageError: if the model or Supertonic's package is missing, or a file cannot be written.
        DataError: if a style cannot be used, or no clip could be made.
        Interrupted: on Ctrl-C, with every clip saved; the same call continues.
    """
    from tune_encoder.speech.generating import Sources, generate
    from tune_encoder.speech.workers import MAX_DEFAULT_WORKERS
    from tune_encoder.system.workers import default_workers

    given = check_option_names(options, GenerateOptions.__annotations__, "generate_data()")
    workers = given.pop("workers", default_workers(MAX_DEFAULT_WORKERS))
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise ConfigError(f"--workers is {workers}; it must be at least 1")
    model = given.pop("model", DEFAULT_MODEL)
    check_choice(model, SUPERTONIC_MODELS, "model")
    folders = ("model_dir", "presets", "styles", "texts")
    sources = Sources(
        model=model,
        hold_out=given.pop("hold_out", ()),
        **{name: expand_if_given(given.pop(name, None)) for name in folders},
    )
    settings = from_mapping(GenerationSettings, given, "command line")
    return generate(expand_path(folder), sources, settings, workers)


@for_python
def import_data(
    out: _Path,
    audio: _Path | None = None,
    styles: _Path | None = None,
    **options: "Unpack[ImportOptions]",
) -> "ImportReport":
    """Make a data set from recordings and their voice styles.

    Example:
        >>> report = tune_encoder.import_data("voices", "recordings", "styles")
        >>> report.counts
        {'train': 310, 'val': 40, 'test': 40}

    Args:
        out: New folder.
        audio: Folder of NAME*.wav (flac, ogg, mp3, opus, aiff), or of a folder for each voice.
        styles: Folder of NAME.json or NAME/*.json.
        options: `manifest` in place of `audio`; `split`, `hold_out` and `test`; `skip_bad`,
            `dry_run`, `sample_rate` in Hz, and `seed`.

    Returns:
        Clips, seconds and voices of each split, with warnings and what was left out.

    Raises:
        ConfigError: if an option is unknown or does not go with another.
        DataError: naming the folder, recording or style that cannot be used, and what to do.
        StorageError: if the folder cannot be written.
    """
    from tune_encoder.data.importing import import_pairs
    from tune_encoder.data.splitting import SplitRequest

    given = check_option_names(options, ImportOptions.__annotations__, "import_data()")
    sample_rate = _checked(FrontendSettings, given, "sample_rate")
    seed = _checked(RunSettings, given, "seed")
    split = given.get("split", "")
    if split:
        check_choice(split, SPLIT_WAYS, "split")
    test = expand_if_given(given.get("test"))
    asked = SplitRequest(how=split, hold_out=given.get("hold_out", ()), test_dir=test)
    audio_dir, manifest, styles_dir = map(expand_if_given, (audio, given.get("manifest"), styles))
    return import_pairs(
        _pair(audio_dir, manifest, styles_dir, asked),
        expand_path(out),
        sample_rate,
        seed,
        asked,
        skip_bad=given.get("skip_bad", False),
        is_dry_run=given.get("dry_run", False),
    )


def _only(given: dict[str, Any], name: str) -> dict[str, Any]:
    return {name: given[name]} if name in given else {}


def _pair(
    audio: Path | None, manifest: Path | None, styles: Path | None, asked: "SplitRequest"
) -> "Pairing":
    """Find which recordings belong to which styles, by their names or by a manifest."""
    from tune_encoder.data.importing import pair_folders
    from tune_encoder.data.manifest import read_manifest

    if (audio is None) == (manifest is None):
        raise ConfigError("give either --audio, a folder of recordings, or --manifest, a table")
    if manifest is not None:
        if asked.test_dir is not None:
            raise ConfigError("--test goes with --audio; a manifest names test in its column split")
        return read_manifest(manifest, styles)
    assert audio is not None
    if styles is None:
        raise ConfigError("--audio needs --styles, the folder of the voices' style JSONs")
    return pair_folders(audio, styles, asked)


@for_python
def check_data(folder: _Path) -> "DataReport":
    """Read every sample of a data set, and return what it contains and what is wrong.

    Example:
        >>> report = tune_encoder.check_data("voices")
        >>> [problem.message for problem in report.errors]
        []

    Args:
        folder: The data set.

    Returns:
        Clips, voices and seconds of each split, and the problems; `errors` are those that stop a
        search, the others are warnings.
    """
    from tune_encoder.data.checking import check_data as check

    return check(expand_path(folder), FrontendSettings().sample_rate)


@for_python
def pack_data(data_dir: _Path, **settings: object) -> "PackedData":
    """Check a data set and pack its features, as a search does once before its first trial.

    Example:
        >>> tune_encoder.pack_data("voices").info["clips"]
        {'train': 310, 'val': 40, 'test': 40}

    Args:
        data_dir: The data set.
        settings: Settings of a run that features or baselines depend on, such as `n_mels`.

    Returns:
        The memory-mapped pack: log-mel features (T, `n_mels`) in float16, styles (50, 256) and
        (8, 16) of each clip, and the baselines' scores in `info`. It is kept in the cache.

    Raises:
        ConfigError: if a setting is unknown or out of range.
        DataError: naming the samples that cannot be used.
        StorageError: if the pack cannot be written.
    """
    from tune_encoder.data.pack import open_pack
    from tune_encoder.data.packing import pack_data as pack

    return open_pack(
        pack(expand_path(data_dir), from_mapping(TrainConfig, settings, "pack_data()"))
    )


@for_python
def repair_data(
    folder: _Path, out: _Path, presets: _Path | None = None
) -> "dict[str, SplitRepair]":
    """Copy a data set, with each style's rows scaled to norm 1, or left out if it is no voice.

    Args:
        folder: The data set, which stays as it is.
        out: New folder.
        presets: Folder of style JSONs that are known to be voices.

    Returns:
        For each split how many clips were copied and scaled, and why others were left out.

    Raises:
        ConfigError: if `out` is in use.
        DataError: if the folder is no data set, or voices to compare with are too few.
    """
    from tune_encoder.data.repairing import repair_data as repair

    return repair(expand_path(folder), expand_path(out), expand_if_given(presets))
