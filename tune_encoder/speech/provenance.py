"""`dataset.json`: what a generated data set was made of, and every clip of it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tune_encoder.config import to_mapping
from tune_encoder.data.samples import SPLITS
from tune_encoder.errors import ConfigError, DataError, StorageError
from tune_encoder.speech.clips import Clip, Made, Script, count_refusals
from tune_encoder.speech.engine import model_hashes, package_versions
from tune_encoder.speech.texts import texts_digest
from tune_encoder.system.damage import parse_json, refuse_damage
from tune_encoder.system.files import atomic_write

DATASET_FILE = "dataset.json"
FORMAT = 1


@dataclass(frozen=True)
class Summary:
    """How a generated data set came out."""

    clips: Mapping[str, int]
    """Number of clips of each split."""
    voices: int
    seconds: float
    """Of all clips together."""
    refused: Mapping[str, int]
    """Number of refused draws, by reason."""
    left_out: Sequence[str]
    """Names of the clips of which every draw was refused."""
    unspeakable: Sequence[str]
    """Texts of this package that the model cannot spell."""


def request_of(model: str, folder: Path, script: Script) -> dict[str, object]:
    """Return all that the bytes of a data set depend on, as JSON has it."""
    return {
        "format": FORMAT,
        **package_versions(),
        "model": model,
        **{f"model file {name}": digest for name, digest in model_hashes(folder).items()},
        **to_mapping(script.settings),
        "texts": texts_digest(script.texts),
        "presets": {name: style.digest() for name, style in script.cast.presets.items()},
        "styles": {name: style.digest() for name, style in script.cast.own.items()},
        "hold_out": sorted(script.cast.held_out),
    }


def check_same_request(folder: Path, request: Mapping[str, object], out: Path) -> None:
    """Check that a folder was begun by the same command.

    Raises:
        ConfigError: naming what differs.
        StorageError: if its `dataset.json` is damaged.
    """
    there = read_dataset(folder)["request"]
    assert isinstance(there, dict)
    differences = [
        f"{name} is {_shown(there.get(name))} there and {_shown(request.get(name))} here"
        for name in [*request, *(name for name in there if name not in request)]
        if there.get(name) != request.get(name)
    ]
    if differences:
        raise ConfigError(
            f"{folder}: begun by another command ({'; '.join(differences)}); repeat that command, "
            f"name another folder than {out}, or remove this one"
        )


def read_dataset(folder: Path) -> dict[str, object]:
    """Read `dataset.json`.

    Raises:
        StorageError: if it is damaged or missing.
    """
    path = folder / DATASET_FILE
    with refuse_damage(lambda why: _unreadable(path, why)):
        content = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(content["request"], dict):
            raise TypeError("its request is no mapping")
        return cast("dict[str, object]", content)


def _unreadable(path: Path, why: str) -> StorageError:
    return StorageError(
        f"{path}: not of a set that this command made ({why}); name another folder, or restore it"
    )


def write_request(folder: Path, request: Mapping[str, object]) -> None:
    """Write a `dataset.json` that says how the set was begun."""
    _write(folder, {"request": request})


def write_dataset(
    folder: Path, request: Mapping[str, object], script: Script, made: Sequence[Made]
) -> None:
    """Write the whole `dataset.json`, of a set whose clips are all made.

    Raises:
        DataError: if a split has no clip, because every draw was refused.
    """
    clips = [_clip_entry(each.clip, each.notes) for each in made if each.notes]
    left_out = {each.clip.path.name: each.refused for each in made if not each.notes}
    refused = [reason for reasons in left_out.values() for reason in reasons]
    refused += [reason for clip in clips for reason in clip["refused"]]  # type: ignore[attr-defined]
    counts = {name: sum(clip["split"] == name for clip in clips) for name in SPLITS}
    if empty := [name for name, count in counts.items() if not count]:
        raise DataError(
            f"{folder}: {empty[0]} has no clip, since the gate refused every draw "
            f"({_counted(refused)}); try other styles, texts or --steps"
        )
    _write(
        folder,
        {
            "request": request,
            "counts": {
                "clips": counts,
                "voices": len({clip["voice"] for clip in clips}),
                "seconds": round(sum(float(str(clip["seconds"])) for clip in clips), 3),
                "refused": count_refusals(refused),
            },
            "voices": {name: script.cast.origin(i) for i, name in enumerate(script.cast.names)},
            "left_out": {name: count_refusals(reasons) for name, reasons in left_out.items()},
            "unspeakable_texts": [*script.unspeakable],
            "clips": clips,
        },
    )


def read_summary(folder: Path) -> Summary:
    """Return how the data set of a folder came out.

    Raises:
        StorageError: if its `dataset.json` is damaged, or of a set that is not whole.
    """
    content = read_dataset(folder)
    counts, left_out = content.get("counts"), content.get("left_out")
    unspeakable = content.get("unspeakable_texts")
    if not (
        isinstance(counts, dict) and isinstance(left_out, dict) and isinstance(unspeakable, list)
    ):
        raise StorageError(f"{folder}: not whole; remove it and begin again")
    with refuse_damage(lambda why: _unreadable(folder / DATASET_FILE, why)):
        return Summary(**counts, left_out=[*left_out], unspeakable=unspeakable)


def _write(folder: Path, content: Mapping[str, object]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write(folder / DATASET_FILE, text.encode())


def _clip_entry(clip: Clip, notes: Mapping[str, object]) -> dict[str, object]:
    voice, _, _ = clip.path.stem.rpartition("_")
    return {"split": clip.path.parent.name, "file": clip.path.name, "voice": voice, **notes}


def _shown(value: object) -> str:
    """Show a value in a few words; of a hash or a list of styles its beginning tells it apart."""
    if isinstance(value, dict):
        return f"{', '.join(value)} ({hashlib.sha256(repr(value).encode()).hexdigest()[:6]})"
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else f"{value!r}"


def _counted(refused: Sequence[str]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in count_refusals([*refused]).items())
