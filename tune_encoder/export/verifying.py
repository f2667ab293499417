"""Verification of a model folder: file hashes, and scores if the data is available."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tune_encoder.errors import DataError, StorageError
from tune_encoder.export.contents import Provenance, Scored, Scores
from tune_encoder.export.provenance import read_provenance
from tune_encoder.export.scoring import rescore
from tune_encoder.export.writing import TOLERANCE
from tune_encoder.model.folder import CARD, CONFIG, METRICS, WEIGHTS
from tune_encoder.system.damage import parse_json, refuse_damage
from tune_encoder.system.manifest import PROVENANCE, sha256_of

# Older exports had another definition of skill and retrieval, and other baselines.
_NEVER_CHANGED = ("skill_ttl", "skill_dp", "centered_cosine", "loss")


@dataclass(frozen=True)
class Verification:
    """The result of a verification."""

    files: int
    """Number of files compared."""
    card_edited: bool
    """Whether the model card was edited, which is expected."""
    unlisted: list[str]
    """Files that are not part of the export."""
    scores: int
    """Number of scores computed again; 0 if that was not possible."""
    not_scored: str
    """Why no scores were computed; empty if they were."""
    mismatches: list[str]
    """One line per mismatch."""
    links: dict[str, str]
    """Files that are links out of the folder, and where they lead."""


def verify(folder: Path, data_dir: Path | None = None) -> Verification:
    """Compare a model folder with its provenance.json, and score the model again.

    Args:
        folder: An exported model.
        data_dir: Its data; by default the folder of the model's config.

    Raises:
        StorageError: if provenance.json or the exported scores cannot be read.
    """
    content = read_provenance(folder)
    listed = content["files"]
    problems = {name: _file_problem(folder, name, entry) for name, entry in listed.items()}
    card_edited = (folder / CARD).is_file() and bool(problems.pop(CARD, ""))
    present = {path.name for path in folder.iterdir() if path.name != PROVENANCE}
    intact = [name for name, problem in problems.items() if not problem]
    scored, why = _rescore(folder, data_dir, content, intact)
    with refuse_damage(lambda why: _damaged_scores(folder, why)):
        pairs = [] if scored is None else list(_score_pairs(_exported(folder), scored))
    return Verification(
        files=len(listed),
        card_edited=card_edited,
        unlisted=sorted(present - set(listed)),
        scores=len(pairs),
        not_scored=why,
        mismatches=[
            *filter(None, problems.values()),
            *(line for line, is_as_before in pairs if not is_as_before),
        ],
        links={name: str(target) for name in sorted(present) if (target := _target(folder, name))},
    )


def _file_problem(folder: Path, name: str, entry: dict[str, list[str]]) -> str:
    path = folder / name
    if not path.is_file():
        return f"{path}: missing"
    found, expected = sha256_of(path.read_bytes()), entry["sha256"][0]
    if found == expected:
        return ""
    if target := _target(folder, name):  # whose hash is nobody's business
        return f"{path}: changed, it is a link to {target}"
    return f"{path}: changed, its SHA-256 is {found[:12]}..., not {expected[:12]}..."


def _target(folder: Path, name: str) -> Path | None:
    """Where a link leads that leaves the folder; None of any other file."""
    target = (folder / name).resolve()
    return None if target.is_relative_to(folder.resolve()) else target


def _damaged_scores(folder: Path, why: str) -> StorageError:
    return StorageError(f"{folder / METRICS}: damaged ({why}); export the model again")


def _rescore(
    folder: Path, data_dir: Path | None, content: Provenance, intact: list[str]
) -> tuple[Scored | None, str]:
    """The scores computed now, or why there are none."""
    for name in (METRICS, WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            return None, f"{name} is missing"
        if name not in intact:
            return None, f"{name} was changed after the export"
    try:
        scored = rescore(folder, data_dir)
    except DataError as error:
        return None, f"{error}; give the data folder with --data-dir"
    except StorageError as error:
        return None, str(error)
    if scored["fingerprint"] != content["data"]["fingerprint"]:
        return None, "the data is not that of its training; give it with --data-dir"
    return scored, ""


def _exported(folder: Path) -> Scores:
    """The exported scores that are computed today as they were then."""
    content = parse_json((folder / METRICS).read_text(encoding="utf-8"))
    scores: Scores = content["scores"]
    if "voices" in content:
        return scores
    return {
        split: {"model": {name: rows["model"][name] for name in _NEVER_CHANGED}}
        for split, rows in scores.items()
    }


def _score_pairs(before: Scores, now: Scored) -> Iterator[tuple[str, bool]]:
    """A line for each score, and whether it is unchanged."""
    for split, rows in before.items():
        if split not in now["scores"]:  # over folds, whose encoders are not in the folder
            continue
        for who, scores in rows.items():
            for name, value in scores.items():
                found = now["scores"][split][who][name]
                line = f"{split}, {who}: {name} is {found:.5f}, was {value:.5f}"
                yield line, abs(found - value) <= TOLERANCE * max(1.0, abs(value))
