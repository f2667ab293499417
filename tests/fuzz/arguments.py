"""Mutations of command lines: each ends with a code of the README, and one line if it fails.

What would train or start Ray ends where it would begin.
"""

import contextlib
import os
import shlex
from pathlib import Path
from unittest import mock

from tests.builders import MadeSearch
from tests.fuzz.mutation import ODD, choose
from tests.fuzz.running import Kind, run_command

_LINES = (
    "list --root {runs}",
    "status mine --root {runs} --json",
    "show mine 0 --root {runs}",
    "best mine --root {runs}",
    "compare mine good --root {runs}",
    "importance mine --root {runs}",
    "add mine base --set dropout=0.1 --root {runs}",
    "kill-trial mine 1 --root {runs}",
    "stop mine --root {runs}",
    "space quick --sample 2 --seed 1",
    "plan quick --no-probe --data-dir {data}",
    "guide search",
    "data check {data}",
    "data import --audio {data} --styles {data} --out new --hold-out A --split voices",
    "verify {model} --data-dir {data}",
    "clone {model} {voice} -o out",
    "evaluate {model} --data-dir none --split val -o out",
    "export mine --root {runs} --top-k 2 --formats torch --average 2 --to out",
    "search --space quick --data-dir {data} --name new --root {runs} --trials 2 --epochs 3",
    "resume mine --root {runs} --trials 9 --epochs 5",
    "fork mine new --space quick --root {runs}",
    "train --data-dir {data} --checkpoint-dir out --epochs 2 --lr 1e-3 --set dropout=0.1",
    "train --config {model}/config.yaml --resume {model}/model.pt --gpus 1",
)
_OPTIONS = ("--json", "--root", "--data-dir", "--set", "--trials", "--epochs", "--time", "--seed")
_ENDS = (
    "tune_encoder.tuning.start.start_search",
    "tune_encoder.tuning.start.resume_search",
    "tune_encoder.tuning.start.fork_search",
    "tune_encoder.training.run_folder.prepare_run",
    "tune_encoder.training.probe.probe",
)


class Arguments(Kind):
    """Command lines, of which tokens are replaced, removed, doubled or added."""

    def __init__(self, folder, model, data_dir, recording):
        super().__init__(folder)
        for name in ("mine", "good"):
            made = MadeSearch(folder / "runs", name=name)
            made.trial([0.9, 0.5], "COMPLETE")
            made.trial([0.7])
            made.record._study._file.close()
        places = {"runs": folder / "runs", "model": model, "data": data_dir, "voice": recording}
        self.lines = [shlex.split(line.format(**places)) for line in _LINES]
        self.data_dir = data_dir

    def run(self, rng):
        arguments = _mutated(rng, choose(rng, self.lines))
        with contextlib.ExitStack() as stack:
            stack.callback(os.chdir, Path.cwd())
            os.chdir(self.folder)  # what is written to a relative path stays there
            demo = mock.patch("tune_encoder.data.demo.cached_demo", return_value=self.data_dir)
            stack.enter_context(demo)
            for name in _ENDS:
                stack.enter_context(mock.patch(name, side_effect=SystemExit(0)))
            run_command(*arguments)


def _mutated(rng, arguments):
    arguments = list(arguments)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(arguments)))
        how = int(rng.integers(6))
        if how == 0 and len(arguments) > 1:
            del arguments[at]
        elif how == 1:
            arguments.insert(at, choose(rng, arguments))
        elif how == 2:
            arguments.insert(at + 1, choose(rng, _OPTIONS))
        elif how == 3:
            arguments[at] += choose(rng, ("=", "=1", "x", "/", ".", ",", "9" * 30, "\u0301"))
        else:
            arguments[at] = _text(choose(rng, ODD))
    return arguments


def _text(value):
    """As a shell can pass it: without NUL, and what is no UTF-8 as Python decodes it."""
    return str(value).replace("\x00", "").replace("\ud800", "\udcff")
