"""Experiments as searches leave them, made without a search, and what can befall their records."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.builders import MadeSearch, parse_space
from tune_encoder.cli import main
from tune_encoder.config import write_yaml
from tune_encoder.experiment.epoch_row import as_row
from tune_encoder.experiment.folder import STUDY_NAME
from tune_encoder.training.checkpoints import save_state
from tune_encoder.tuning.record.repair import repair

EPOCHS = 4
CONTENT: dict[str, Any] = {
    "budget": {"trials": 6, "epochs": EPOCHS},
    "base": {"num_threads": 3},
    "space": {
        "head": {"choice": ["pca", "lowrank"]},
        "pca_components": {"int": [4, 128], "log": True, "when": {"head": "pca"}},
        "dropout": {"float": [0.0, 0.4], "step": 0.1},
    },
    "start": [{"head": "pca", "dropout": 0.1}, {"head": "lowrank", "dropout": 0.2}],
}
SPACE = parse_space(CONTENT, "test", Path())


class Search(MadeSearch):
    """An experiment as a search leaves it, with the files of its trials."""

    def __init__(self, root, space=SPACE):
        super().__init__(root, space)

    def trial(self, losses, kept=(), finished=False):
        """A trial of these losses, of which some epochs still have their checkpoints."""
        trial = self.record.ask()
        assert trial is not None
        number, history = trial.number, []
        self.experiment.trial_dir(number).mkdir(parents=True)
        self.experiment.trial_config(number).write_text(write_yaml(trial.settings))
        for epoch, loss in enumerate(losses, start=1):
            ends = finished and epoch == len(losses)
            row = {"epoch": epoch, "val_loss": loss, "val_skill": 1 - loss, "finished": ends}
            history.append({**row, "seconds": 1.0})
            place = {"checkpoint": f"1/{number:04d}/checkpoint_{epoch - 1:06d}"}
            place["checkpoint_sha256"] = self.save(place, trial.settings, history)
            if epoch not in kept:
                shutil.rmtree(self.place(place).parent)
            self.record.add_row(number, as_row({**history[-1], **place}))
        if history:
            lines = [json.dumps(row) + "\n" for row in history]
            self.experiment.trial_metrics(number).write_text("".join(lines))
        if finished:
            self.record.complete(number)
        return number

    def save(self, place, settings, history):
        state = {
            "epoch": len(history),
            "data": {},
            "config": {**settings, "num_threads": 1, "init_from": "/copy"},
        }
        return save_state(self.place(place), {**state, "history": history})

    def place(self, row):
        file = self.experiment.checkpoint_file(row)
        assert file is not None
        return file

    def wrote_at(self, number, moment):
        os.utime(self.experiment.trial_metrics(number), (moment, moment))

    def repaired(self):
        """Begun trials before and after the record is lost and rebuilt, and what `repair` says."""
        before = self.begun()
        delete(self.experiment.study_path)
        done = repair(self.experiment)
        return before, self.begun(), done

    def begun(self):
        return [trial for trial in self.experiment.trials() if trial.state != "WAITING"]


def delete(path):
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def overwrite(path):
    path.write_bytes(b"no database, but long enough to be taken for one" * 100)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def blank_the_middle(path):
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third : 2 * third] = bytes(third)
    path.write_bytes(content)


def study(experiment):
    return optuna.load_study(study_name=STUDY_NAME, storage=f"sqlite:///{experiment.study_path}")


def run(capsys, command):
    """Exit code, output and errors of a command line."""
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    return ended.value.code, *capsys.readouterr()
