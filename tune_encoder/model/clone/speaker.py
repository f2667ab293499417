"""One style of a speaker from several recordings.

Shapes: N recordings.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune_encoder.data.audio_file import readable_suffixes
from tune_encoder.data.novelty import KnownSound
from tune_encoder.data.voice_bank import VoiceBank
from tune_encoder.data.voice_style import VoiceStyle, check_same_version
from tune_encoder.errors import ConfigError, DataError, TuneEncoderError
from tune_encoder.model.clone.cloning import Clone, output_paths, predict, write_clone
from tune_encoder.model.clone.engines import Engine
from tune_encoder.system.files import files_with_suffix

SAME_SPEAKER = 0.7
"""How far two clips of a speaker may be apart, 1 being as two voices. Of two clips of a demo voice
in different rooms and noise, 8 % are further; of clips of two demo voices 65 %."""
_VALUE = {"noisy": 0.2, "as narrow as a telephone's": 0.2, "clipped": 0.5}
"""The weight of a clip with a fault. Beside the other clips of its voice, the squared error of a
demo clip grows 5 to 10 times by noise at 10 to 0 dB, 7 times by a telephone and 1.1 to 2.6 times
by clipping."""
_NOT_IN_FILE_NAMES = frozenset('/\\:*?"<>|')  # on any system
_MAX_NAME = 100  # letters


@dataclass(frozen=True)
class SpeakerClone:
    """The style of a speaker, the recordings it was made of, and the path of the style JSON."""

    out: Path
    style: VoiceStyle
    clips: list[Clone]
    """Those that the style is the mean of, at least one."""
    weights: list[float]
    """Of each of them; their sum is 1."""
    left_out: dict[Path, float]
    """Recordings unlike most others, with their median distance to the others."""
    failed: list[TuneEncoderError]
    """Why other recordings could not be used."""
    spread: float | None
    """RMS distance between two of the clips, 1 being as two voices; None if unknown."""
    is_divided: bool
    """Whether the clips are so unlike that no half of them agrees, and none was left out."""

    @property
    def sound_s(self) -> float:
        """Seconds of sound in the clips."""
        return sum(clip.sound_s for clip in self.clips)

    @property
    def uncertainty(self) -> float | None:
        """Standard error of the style, in the unit of `spread`; None if unknown.

        That by the choice of the clips: what the model does wrong with all of them is not in it.
        """
        if self.spread is None:
            return None
        return float(self.spread / np.sqrt(2) * np.sqrt(np.square(self.weights).sum()))


def clone_speaker(
    engine: Engine,
    recordings: Sequence[Path],
    out: Path,
    *,
    bank: VoiceBank | None = None,
    known: Mapping[Path, VoiceStyle] | None = None,
    sound: KnownSound | None = None,
) -> SpeakerClone:
    """Write one voice style of several recordings of a speaker as JSON.

    The style is the mean of theirs, weighted by the square root of their seconds of sound and by
    their quality. A recording is left out if more than half of the others are further from it than
    `SAME_SPEAKER`.

    Args:
        engine: A loaded model.
        recordings: Audio files of one speaker.
        out: The JSON to write; its stem is the speaker's name.
        bank: Voices in whose unit distances are measured; without it, or with a single voice, none
            is left out.
        known: Styles in the same folder or to compare with.
        sound: What the model was trained on, from `data.novelty.read_known_sound`.

    Raises:
        DataError: if no recording can be used, or a known style is of another Supertonic version.
        StorageError: if the file cannot be written, or the model cannot be used.
    """
    clips: list[Clone] = []
    failed: list[TuneEncoderError] = []
    for recording in dict.fromkeys(recordings):  # one that is named twice counts once
        try:
            clips.append(predict(engine, recording, out, sound))
        except DataError as error:
            failed.append(error)
    if not clips:
        raise DataError(f"{out.stem}: {_none_of(failed)}; give a clean recording of at least 3 s")
    result = _combine(out, clips, failed, bank)
    check_same_version({out: result.style, **(known or {})})
    origin = {
        "source_files": [clip.recording.name for clip in result.clips],
        "source_weights": [round(weight, 4) for weight in result.weights],
        "left_out": [path.name for path in result.left_out],
    }
    write_clone(out, result.style, engine, origin)
    return result


def _none_of(failed: list[TuneEncoderError]) -> str:
    if len(failed) == 1:
        return f"its only recording cannot be used ({failed[0]})"
    return f"none of its {len(failed)} recordings can be used, the first because {failed[0]}"


def _combine(
    out: Path, clips: list[Clone], failed: list[TuneEncoderError], bank: VoiceBank | None
) -> SpeakerClone:
    apart = bank.distances([clip.style for clip in clips]) if bank else None
    if apart is None:  # without a unit none is far
        apart = np.zeros([len(clips)] * 2)
    unlike = _unlike_most(apart)
    is_divided = bool(unlike.sum() * 2 > len(clips))
    kept = np.flatnonzero(~unlike | is_divided)
    used = [clips[i] for i in kept]
    weights = np.array([_weight(clip) for clip in used])
    weights /= weights.sum()
    left_out = {
        clips[i].recording: float(np.median(np.delete(apart[i], i)))
        for i in (() if is_divided else np.flatnonzero(unlike))
    }
    return SpeakerClone(
        out=out,
        style=_mean_style([clip.style for clip in used], weights),
        clips=used,
        weights=weights.tolist(),
        left_out=left_out,
        failed=failed,
        spread=bank.spread([clip.style for clip in used]) if bank and len(used) > 1 else None,
        is_divided=is_divided,
    )


def _unlike_most(apart: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which clips (N,) are further than allowed from more than half of the others (N, N)."""
    n_far = (apart > SAME_SPEAKER).sum(axis=1)  # a clip is not far from itself
    return np.asarray(2 * n_far > len(apart) - 1)


def _weight(clip: Clone) -> float:
    """Its weight: in twice the sound, errors of one kind are half as large, others stay."""
    faults = (_VALUE.get(kind, 1.0) for kind in clip.quality.faults())
    return float(np.sqrt(clip.sound_s) * np.prod(list(faults)))


def _mean_style(styles: Sequence[VoiceStyle], weights: NDArray[np.float64]) -> VoiceStyle:
    """The weighted mean, its rows brought back to norm 1."""
    ttl, dp = (
        np.tensordot(weights, np.stack([getattr(style, part) for style in styles]), axes=1)
        for part in ("ttl", "dp")
    )
    return VoiceStyle(ttl, dp).normalized()


def speaker_paths(names: Iterable[str], out: Path) -> dict[str, Path]:
    """Return the JSON path of each speaker, and create their folder; see `output_paths`."""
    paths = output_paths([Path(f"{name}.json") for name in names], out)
    return {name.stem: path for name, path in paths.items()}


# --- which recordings are whose ------------------------------------------------------------------


def check_voice_name(name: str) -> None:
    """Raise a `ConfigError` if a speaker's name cannot be the name of a file."""
    odd = sorted(
        {letter for letter in name if letter in _NOT_IN_FILE_NAMES or not letter.isprintable()}
    )
    if odd or not name.strip() or name.startswith(".") or len(name) > _MAX_NAME:
        raise ConfigError(
            f"--voice {name!r}: is no file name; use up to {_MAX_NAME} letters and digits, without "
            "/ and the like, not beginning with a dot"
        )


def speaker_recordings(paths: Sequence[Path]) -> list[Path]:
    """Return the files, and all recordings in and below the folders among them.

    Raises:
        DataError: naming a folder without a recording.
    """
    return [file for path in paths for file in (_below(path) if path.is_dir() else [path])]


def speakers_by_folder(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the recordings of each speaker, by the name of the speaker's folder.

    A folder that holds recordings is that of a speaker; of one that holds only folders, each of
    these is. Recordings deeper down belong to the speaker, as in LibriTTS.

    Raises:
        ConfigError: if a path is no folder, or two speakers have one name.
        DataError: naming a folder without a recording.
    """
    found: dict[str, Path] = {}
    for folder in (each for path in folders for each in _speaker_folders(path)):
        name = folder.resolve().name
        if found.setdefault(name, folder).resolve() != folder.resolve():
            raise ConfigError(
                f"{found[name]}, {folder}: are two speakers of one name; rename one or clone them "
                "into different folders"
            )
    return {name: _below(folder) for name, folder in found.items()}


def _speaker_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise ConfigError(f"{path}: is no folder; with --by-folder name folders of recordings")
    if files_with_suffix(path, *readable_suffixes()):
        return [path]
    inner = [each for each in sorted(path.iterdir()) if each.is_dir() and each.name[0] != "."]
    with_sound = [each for each in inner if next(_find_below(each), None)]
    return with_sound or [path]  # which is refused for having none


def _below(folder: Path) -> list[Path]:
    recordings = sorted(_find_below(folder))
    if not recordings:
        raise DataError(
            f"{folder}: has no recording; put {', '.join(readable_suffixes())} files there"
        )
    return recordings


def _find_below(folder: Path) -> Iterator[Path]:
    suffixes = readable_suffixes()
    for path in folder.rglob("*"):
        is_hidden = any(part[0] == "." for part in path.relative_to(folder).parts)
        if path.suffix.lower() in suffixes and not is_hidden and path.is_file():
            yield path
