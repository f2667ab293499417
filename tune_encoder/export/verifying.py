"""Is a model folder what was exported? Its hashes, and its scores where the data is at hand."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tune_encoder.errors import DataError, StorageError
from tune_encoder.export.contents import Provenance, Scored, Scores
from tune_encoder.export.provenance import read_provenance
from tune_encoder.export.scoring import rescore
from tune_encoder.export.writing import TOLERANCE
from tune_encoder.model.folder import CARD, CONFIG, METRICS, WEIGHTS
from tune_encoder.system.manifest import PROVENANCE, sha256_of


@dataclass(frozen=True)
class Verification:
    """What was compared and what did not match."""

    files: int
    """How many were compared."""
    card_edited: bool
    """Whether the model card is another; a person is to fill it in."""
    unlisted: list[str]
    """Files that are there but were not exported."""
    scores: int
    """How many scores were computed again; 0 if none could be."""
    not_scored: str
    """Why not, for a person; empty if they were."""
    mismatches: list[str]
    """A line for each."""


def verify(folder: Path, data_dir: Path | None = None) -> Verification:
    """Compare a model folder with its provenance.json, and score the model again.

    Args:
        folder: An exported model.
        data_dir: Its data; where the model's config says, if not given.

    Raises:
        StorageError: if provenance.json cannot be read.
    """
    content = read_provenance(folder)
    listed = content["files"]
    problems = {name: _file_problem(folder, name, entry) for name, entry in listed.items()}
    card_edited = (folder / CARD).is_file() and bool(problems.pop(CARD, ""))
    present = {path.name for path in folder.iterdir() if path.name != PROVENANCE}
    intact = [name for name, problem in problems.items() if not problem]
    scored, why = _rescore(folder, data_dir, content, intact)
    pairs = [] if scored is None else list(_score_pairs(_exported_scores(folder), scored))
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
    )


def _file_problem(folder: Path, name: str, entry: dict[str, list[str]]) -> str:
    path = folder / name
    if not path.is_file():
        return f"{path}: missing"
    found, expected = sha256_of(path.read_bytes()), entry["sha256"][0]
    if found == expected:
        return ""
    return f"{path}: changed, its SHA-256 is {found[:12]}..., not {expected[:12]}..."


def _rescore(
    folder: Path, data_dir: Path | None, content: Provenance, intact: list[str]
) -> tuple[Scored | None, str]:
    """The scores now, or why there are none."""
    for name in (METRICS, WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            return None, f"{name} is not there"
        if name not in intact:
            return None, f"{name} is not as it was exported"
    try:
        scored = rescore(folder, data_dir)
    except DataError as error:
        return None, f"{error}; name the data with --data-dir"
    except StorageError as error:
        return None, str(error)
    if scored["fingerprint"] != content["data"]["fingerprint"]:
        return None, "the data are not those it was trained on; name them with --data-dir"
    return scored, ""


def _exported_scores(folder: Path) -> Scores:
    scored: Scores = json.loads((folder / METRICS).read_text(encoding="utf-8"))["scores"]
    return scored


def _score_pairs(before: Scores, now: Scored) -> Iterator[tuple[str, bool]]:
    """A line for each score, and whether it is as it was."""
    for split, rows in before.items():
        for who, scores in rows.items():
            for name, value in scores.items():
                found = now["scores"][split][who][name]
                line = f"{split}, {who}: {name} is {found:.5f}, was {value:.5f}"
                yield line, abs(found - value) <= TOLERANCE * max(1.0, abs(value))
