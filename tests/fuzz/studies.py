"""Mutations of study.db and of what else a search leaves in its folder: what looks at it."""

import contextlib
import json
import shutil
import sqlite3
from contextlib import closing

from tests.builders import MadeSearch, epoch_row, parse_space
from tests.fuzz.mutation import ODD, as_json, changed, choose, damaged
from tests.fuzz.running import Kind, run_command
from tune_encoder.experiment.folder import Experiment
from tune_encoder.tuning.record.record import Record

_SPACE = parse_space(
    {
        "budget": {"trials": 6, "epochs": 4},
        "space": {
            "learning_rate": {"float": [1e-4, 1e-2], "log": True},
            "head": {"choice": ["pca", "linear"]},
            "pca_components": {"int": [4, 128], "when": {"head": "pca"}},
        },
    }
)
_LOOKS = (
    ("list",), ("list", "--json"), ("status", "mine"), ("show", "mine", 0), ("show", "mine", 2),
    ("best", "mine"), ("compare", "mine", "good"), ("repair", "mine"),
)  # fmt: skip
_TABLES = ("trials", "trials", "trial_user_attributes", "trial_params", "trial_values")


class Studies(Kind):
    """Two searches in one root, of which one is changed."""

    def __init__(self, folder):
        super().__init__(folder)
        self.root, self.whole = folder / "runs", folder / "whole"
        for name in ("mine", "good"):
            made = MadeSearch(self.whole, _SPACE, name, row_of=_row)
            made.trial([0.9, 0.5, 0.6, 0.55], "COMPLETE")
            made.trial([0.95, 0.9], "PRUNED", "")
            made.trial([], "FAIL", "TrainingDiverged: the loss is nan")
            made.trial([0.7])
            made.record._study._file.close()
            trial = made.experiment.trial_dir(0)
            trial.mkdir(parents=True)
            rows = (_row(0, epoch, 0.5) for epoch in (1, 2))
            (trial / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(self, rng):
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.whole, self.root)
        path = self.root / "mine" / "study.db"
        if rng.random() < 0.25:
            path.write_bytes(damaged(rng, path.read_bytes()))
        else:
            with closing(sqlite3.connect(path)) as database, database:
                for _ in range(int(rng.integers(1, 3))):
                    _change(rng, database)
        if rng.random() < 0.1:
            Record.open(Experiment(path.parent), _SPACE).unfinished()  # as `resume` does
            return
        look = choose(rng, _LOOKS) if rng.random() < 0.98 else ("report", "mine")  # which is slow
        out = run_command(*look, "--root", self.root)
        if look[0] == "list":
            assert "good" in out, f"the other search is not listed: {out}"


def _row(number, epoch, value):
    return epoch_row(
        epoch,
        value,
        val_skill_ttl=0.5,
        val_skill_dp=0.25,
        val_retrieval=0.1,
        recorded_at=1.7e9,
        gradient_norm=float("inf"),
        checkpoint=f"1/{number:04d}/checkpoint_{epoch:06d}",
    )


def _change(rng, database):
    """Replace, remove or copy a value of a random row."""
    table = choose(rng, _TABLES)
    rows = database.execute(f"SELECT rowid, * FROM {table}").fetchall()
    if not rows:
        return
    names = [each[1] for each in database.execute(f"PRAGMA table_info({table})")]
    rowid, *values = choose(rng, rows)
    at = int(rng.integers(len(names)))
    if rng.random() < 0.1:
        database.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))
        return
    value = _mutated(rng, values[at])
    with contextlib.suppress(sqlite3.IntegrityError):  # the file refuses it by itself
        change = f"UPDATE {table} SET {names[at]} = ? WHERE rowid = ?"
        database.execute(change, (value, rowid))


def _mutated(rng, value):
    try:
        parsed = json.loads(value)
    except (ValueError, TypeError):
        return _storable(choose(rng, ODD))
    if rng.random() < 0.8 and isinstance(parsed, dict):
        return as_json(changed(rng, parsed)).decode()
    return _storable(choose(rng, (*ODD, b"\xff\xfe", as_json(choose(rng, ODD)).decode())))


def _storable(value):
    if isinstance(value, list | dict):
        return json.dumps(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return None if isinstance(value, int) and abs(value) >= 2**63 else value
