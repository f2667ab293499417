"""From recordings to style files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from tune_encoder.data.audio import to_voice
from tune_encoder.data.audio_file import read_recording
from tune_encoder.data.novelty import KnownSound
from tune_encoder.data.quality import REMEDIES, Quality, measure_quality
from tune_encoder.data.voice_style import Array, VoiceStyle, check_same_version, write_voice_style
from tune_encoder.errors import ConfigError, StorageError, TuneEncoderError
from tune_encoder.model.clone.engines import Engine

PART_S = 2.0  # as long as a window of an encoder by default
MIN_PARTS, MAX_PARTS = 2, 20  # of an hour, parts spread over it tell as much as all
RECOMMENDED_DURATION_S = 3.0  # the minimum that other tools for cloning Supertonic voices ask for


@dataclass(frozen=True)
class Clone:
    """A recording, its predicted style, and the path of the style JSON."""

    recording: Path
    out: Path
    style: VoiceStyle
    quality: Quality
    sound_s: float
    """Duration in seconds, without silence at both ends."""
    windows: list[VoiceStyle]
    """Styles of parts of it, of two seconds each; empty if it is too short for two parts."""
    novelty: float | None = None
    """How unlike the recordings of training it is, above 1 too much; None if unknown."""

    def warnings(self, *, is_alone: bool = True) -> list[str]:
        """Return what makes the style less reliable.

        Args:
            is_alone: Whether the style is of this recording alone, which may be too short for that.
        """
        found = [
            f"{self.recording}: is {kind}, {measured}; {REMEDIES[kind]}"
            for kind, measured in self.quality.faults().items()
        ]
        if self.novelty is not None and self.novelty > 1:
            found.append(
                f"{self.recording}: is unlike all that the model was trained on, "
                f"{self.novelty:.1f} times as far as is allowed; its style says little, so use "
                "clean speech of one person"
            )
        if is_alone and self.sound_s < RECOMMENDED_DURATION_S:
            found.append(
                f"{self.recording}: {self.sound_s:.1f} s of sound; use at least "
                f"{RECOMMENDED_DURATION_S:g} s for a more reliable style"
            )
        return found


def clone(engine: Engine, recording: Path, out: Path) -> Clone:
    """Write the voice style of a recording as JSON.

    Args:
        engine: A loaded model.
        recording: An audio file that soundfile reads, at least a second long.
        out: The JSON to write.

    Raises:
        DataError: if the recording cannot be used.
        StorageError: if the file cannot be written, or the model cannot be used.
    """
    result = predict(engine, recording, out)
    _write(result, engine)
    return result


def clone_all(
    engine: Engine,
    outputs: dict[Path, Path],
    known: dict[Path, VoiceStyle],
    sound: KnownSound | None = None,
) -> Iterator[Clone | TuneEncoderError]:
    """Clone one recording after another; if one fails, yield the error and continue.

    Args:
        engine: A loaded model.
        outputs: The JSON path of each recording, from `output_paths`.
        known: Styles in the same folder or to compare with.
        sound: What the model was trained on, from `data.novelty.read_known_sound`.

    Raises:
        DataError: if a known style is of another Supertonic version than the model.
    """
    for recording, out in outputs.items():
        try:
            result = predict(engine, recording, out, sound)
        except TuneEncoderError as error:
            yield error
            continue
        check_same_version({recording: result.style, **known})
        _write(result, engine)
        yield result


def predict(engine: Engine, recording: Path, out: Path, sound: KnownSound | None = None) -> Clone:
    """Predict the style without writing it; see `clone_all`."""
    heard = read_recording(recording)
    audio = to_voice(heard, engine.sample_rate)
    style = engine.style(audio)
    norms = np.concatenate([np.linalg.norm(part, axis=-1) for part in (style.ttl, style.dp)])
    if not (np.isfinite(norms) & (norms > 0)).all():  # a row of zeros has no direction either
        raise StorageError(f"{recording}: the model gives no finite style; export the model again")
    return Clone(
        recording,
        out,
        style,
        measure_quality(heard),
        audio.size / engine.sample_rate,
        [engine.style(part) for part in _parts(audio, engine.sample_rate)],
        None if sound is None else sound.novelty(audio),
    )


def _parts(audio: Array, sample_rate: int) -> list[Array]:
    """Cut audio into parts of about two seconds, at most `MAX_PARTS` of them."""
    count = round(audio.size / (PART_S * sample_rate))
    if count < MIN_PARTS:
        return []
    parts = np.array_split(audio, count)
    chosen = np.linspace(0, count - 1, min(count, MAX_PARTS)).round().astype(int)
    return [parts[i] for i in chosen]


def _write(result: Clone, engine: Engine) -> None:
    origin = {
        "source_file": result.recording.name,
        "source_sample_rate": result.quality.sample_rate,
    }
    write_clone(result.out, result.style, engine, origin)


def write_clone(out: Path, style: VoiceStyle, engine: Engine, origin: dict[str, object]) -> None:
    """Write a style with what it was made from, at which sample rate, and when."""
    metadata = {
        **origin,
        "target_sample_rate": engine.sample_rate,
        "extracted_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    write_voice_style(out, style, metadata)


def output_paths(recordings: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Return the JSON path for each recording, and create their folder.

    Args:
        recordings: Audio files.
        out: A folder; with one recording it may be a file name that ends in .json.

    Raises:
        ConfigError: if several recordings would get the same file.
        StorageError: if the folder cannot be created.
    """
    is_file = out.suffix.lower() == ".json" and not out.is_dir()
    if is_file and len(recordings) > 1:
        raise ConfigError(f"-o {out}: is one file for {len(recordings)} voices; name a folder")
    outputs = {
        recording: out if is_file else out / f"{recording.stem}.json" for recording in recordings
    }
    _check_distinct_outputs(recordings, out)
    try:
        (out.parent if is_file else out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{out}: cannot be created ({error.strerror}); name another") from error
    return outputs


def _check_distinct_outputs(recordings: Sequence[Path], out: Path) -> None:
    name, count = Counter(recording.stem for recording in recordings).most_common(1)[0]
    if count > 1:
        same = ", ".join(str(recording) for recording in recordings if recording.stem == name)
        raise ConfigError(f"{same}: each would be written to {out / name}.json; rename all but one")
