"""A whole search beside a plain loop and a plain Ray Tune script, and where its time goes.

    python -m tests.benchmarks.search [--rounds N]

16 configs of at most 9 epochs on 512 clips, two workers, ASHA. The arms run in turn; medians. The
plain loop trains the first of the same configs one after another in one process, on features in
memory, each in full; all of them would take eight times as long. Beside it stands a search of just
these on one worker, from the first trial's start to the last's end. The pack is made before the
clock starts, in all arms but plain Tune, which has none. Where the CPU has bfloat16 all arms but
plain Tune train in it.
"""

import argparse
import dataclasses
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.benchmarks.plain_tune import EPOCHS, WORKERS
from tune_encoder.config import TrainConfig, write_yaml
from tune_encoder.data.batches import training_batches
from tune_encoder.data.demo import make_demo
from tune_encoder.data.pack import Pack, PackedData, open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.experiment.epoch_row import EpochRow, score_of
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.model.prediction import predict_pack
from tune_encoder.training.augment import augment
from tune_encoder.training.epoch import batch_loss
from tune_encoder.training.reduced_styles import reduce_styles
from tune_encoder.training.state import start_run

CONFIGS, LOOPED, CLIPS = 16, 2, 512
# The guide's encoder and head, on crops of two seconds.
CNN = {"encoder_type": "cnn", "hidden_dim": 512, "head": "linear", "pooling": "mean"}
KINDS: dict[str, dict[str, Any]] = {"default": {}, "cnn": CNN}
PARTS = ("step", "predict", "score")  # of an epoch, as its row names them


def configs() -> list[dict[str, Any]]:
    """The same configs for every arm."""
    draw = random.Random(0)
    return [
        {"learning_rate": 10 ** draw.uniform(-4, -2), "dropout": draw.uniform(0, 0.3)}
        for _ in range(CONFIGS)
    ]


# --- the arms ------------------------------------------------------------------------------------


def ours(folder: Path, data: Path, base: dict[str, Any]) -> dict[str, float]:
    """Run the search, and read from its record where the time went."""
    asha = {"name": "asha", "grace_period": 2, "reduction_factor": 3}
    return searched(folder, data, base, configs(), asha, WORKERS)


def one_worker(folder: Path, data: Path, base: dict[str, Any]) -> dict[str, float]:
    """Search what the plain loop trains, as it does: one after another, each in full."""
    found = searched(folder, data, base, configs()[:LOOPED], {"name": "none"}, 1)
    return {"wall": found["wall"] - found["start-up"] - found["end"], "epochs": found["epochs"]}


def searched(
    folder: Path,
    data: Path,
    base: dict[str, Any],
    start: list[dict[str, Any]],
    scheduler: dict[str, Any],
    workers: int,
) -> dict[str, float]:
    """Run `tune-encoder search`."""
    space = {
        "budget": {"trials": len(start), "epochs": EPOCHS},
        "scheduler": scheduler,
        "searcher": {"name": "random", "closed_form": False},
        "resources": {"concurrent": workers},
        "validation": {"voices": 1},
        "base": {**base, "early_stopping_patience": 0},
        "space": {
            "learning_rate": {"float": [1e-4, 1e-2], "log": True},
            "dropout": {"float": [0.0, 0.3]},
        },
        "start": start,
    }
    (folder / "space.yaml").write_text(write_yaml(space))
    command = [sys.executable, "-m", "tune_encoder", "search", "--space", "space.yaml"]
    command += ["--data-dir", str(data), "--name", "ours", "--no-export"]
    began = time.time()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    ended = time.time()
    found = shares(Experiment(folder / "runs" / "ours"), workers, began, ended)
    shutil.rmtree(folder / "runs")
    return found


def shares(experiment: Experiment, workers: int, began: float, ended: float) -> dict[str, float]:
    """Where the time of a search went: seconds, and shares of its workers' time.

    An epoch ends when TensorBoard hears of it. "checkpoint" is the time until the driver takes it
    up: the file is written, hashed and copied, and may wait for the driver. "scheduling" is the
    time until the worker's next epoch: it is recorded and judged, and a new trial is set up.
    """
    epochs = [epoch for trial in experiment.trials() for epoch in timed(experiment, trial)]
    first = min(epoch.began for epoch in epochs)
    last = max(epoch.recorded for epoch in epochs)
    keys = {name: f"{name}_seconds" for name in PARTS}
    spent = {name: sum(score_of(epoch.row, key) for epoch in epochs) for name, key in keys.items()}
    spent["data"] = sum(epoch.row["seconds"] for epoch in epochs) - sum(spent.values())
    spent["checkpoint"] = sum(epoch.recorded - epoch.ended for epoch in epochs)
    in_turn = sorted(epochs, key=lambda epoch: (epoch.row["worker"], epoch.began))
    spent["scheduling"] = sum(
        after.began - before.recorded
        for before, after in itertools.pairwise(in_turn)
        if after.row["worker"] == before.row["worker"]
    )
    offered = workers * (last - first)
    spent["idle"] = offered - sum(spent.values())
    return {
        "wall": ended - began,
        "epochs": len(epochs),
        "start-up": first - began,
        "end": ended - last,
        **{f"{name} %": 100 * seconds / offered for name, seconds in spent.items()},
        "best skill": max(epoch.row["val_skill"] for epoch in epochs),
    }


class TimedEpoch(NamedTuple):
    """A row, and when its epoch began, ended and was taken up, in seconds since 1970."""

    row: EpochRow
    began: float
    ended: float
    recorded: float


def timed(experiment: Experiment, trial: TrialRecord) -> Iterator[TimedEpoch]:
    """Give the epochs of a trial; one that failed in its first has no events."""
    if not trial.rows:
        return
    events = EventAccumulator(str(experiment.trial_dir(trial.number) / "logs")).Reload()
    told = {event.step: event.wall_time for event in events.Scalars("run/seconds")}
    for row in trial.rows:
        ended = told[row["epoch"]]
        yield TimedEpoch(row, ended - row["seconds"], ended, row["recorded_at"])


def loop(data: PackedData, base: dict[str, Any]) -> dict[str, float]:
    """Train configs in full, one after another."""
    torch.set_num_threads(1)
    began = time.time()
    for settings in configs()[:LOOPED]:
        train_plainly(TrainConfig(**base, epochs=EPOCHS, **settings), data)
    return {"wall": time.time() - began, "epochs": LOOPED * EPOCHS}


def train_plainly(config: TrainConfig, data: PackedData) -> None:
    """The shortest loop that trains the same model on the same crops."""
    device = torch.device("cpu")
    state = start_run(config, data, device)
    reduce_styles(state, data.train)
    for epoch in range(1, EPOCHS + 1):
        state.module.train()
        for batch in training_batches(data.train, config, epoch, state.targets):
            features = augment(batch.features, config, state.model.mel_mean)
            batch_loss(state, batch._replace(features=features), data.statistics).total.backward()
            torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.gradient_clip)
            state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)
            state.schedule.step()
        predict_pack(state.model, data.val, 188, device)


def in_memory(pack: Pack) -> Pack:
    """The same clips, read."""
    return dataclasses.replace(pack, features=np.array(pack.features))


def plain_tune(folder: Path, data: Path) -> dict[str, float]:
    """Run the plain script."""
    (folder / "configs.json").write_text(json.dumps(configs()))
    command = [sys.executable, "-m", "tests.benchmarks.plain_tune", str(data)]
    command += [str(folder / "configs.json"), str(folder / "plain")]
    began = time.time()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    shutil.rmtree(folder / "plain")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "wall": time.time() - began}


# --- the table -----------------------------------------------------------------------------------


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, data = Path(name), Path(name) / "demo"
        os.environ["TUNE_ENCODER_CACHE"] = str(folder / "cache")
        make_demo(data, voices=CLIPS, val_voices=64, test_voices=64, seed=0)
        packed = open_pack(pack_data(data, TrainConfig()))
        packed = dataclasses.replace(
            packed, train=in_memory(packed.train), val=in_memory(packed.val)
        )
        for number in range(1, rounds + 1):
            for kind, base in KINDS.items():
                found.setdefault(f"ours, {kind}", []).append(ours(folder, data, base))
                found.setdefault(f"loop, {kind}", []).append(loop(packed, base))
                found.setdefault(f"one worker, {kind}", []).append(one_worker(folder, data, base))
            found.setdefault("plain Tune, cnn", []).append(plain_tune(folder, data))
            print(f"round {number} of {rounds} done", file=sys.stderr)
    tell(found)


def tell(found: dict[str, list[dict[str, float]]]) -> None:
    """Print medians, each figure's own."""
    medians = {
        arm: {part: statistics.median(each[part] for each in rows) for part in rows[0]}
        for arm, rows in found.items()
    }
    for arm, parts in medians.items():
        per_epoch = parts["wall"] / parts["epochs"]
        print(f"{arm:20} wall {parts['wall']:7.1f} s, {parts['epochs']:4.0f} epochs, "
              f"{per_epoch:6.2f} s each")  # fmt: skip
        rest = {name: value for name, value in parts.items() if name not in ("wall", "epochs")}
        if rest:
            print("    " + ", ".join(f"{name} {value:.2f}" for name, value in rest.items()))
    plain = medians["plain Tune, cnn"]["wall"]
    for kind in KINDS:
        print(f"ours, {kind}: 1/{plain / medians[f'ours, {kind}']['wall']:.1f} of plain Tune")
        each = zip(found[f"one worker, {kind}"], found[f"loop, {kind}"], strict=True)
        ratio = statistics.median(one["wall"] / other["wall"] for one, other in each)
        print(f"one worker, {kind}: {ratio:.2f} of the plain loop")


if __name__ == "__main__":
    main()
