"""What a search is worth: its winner beside baselines and beside one run of its start config.

    python -m tests.benchmarks.quality [--space quick default] [--seeds 0 1 2]
        [--clips-per-voice 2 1] [--rivals 2] [--real FOLDER [--turns 4]]

On the demo voices, each space is searched with each seed. The rivals are its first start
configs, each trained once for as many epochs as all trials had together, at the epoch of its
lowest validation loss; and, as exports are, again up to it on train and val. With one clip a
voice, val and test are recorded as train is.
FOLDER has recordings in voices/ and styles in styles/: they are imported by time, searched with
eight trials, and evaluated over folds that leave out one voice each. A piece of 1.2 s a voice is
little to test with: with four turns, the recordings are searched four times, each time begun at
another quarter, so that another piece is held out.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
import torch

import tune_encoder
from tune_encoder.config import TrainConfig
from tune_encoder.data.demo import cached_demo
from tune_encoder.data.folds import all_voices
from tune_encoder.data.importing import import_pairs, pair_folders
from tune_encoder.data.pack import PackedData, open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.score_words import KNOWN
from tune_encoder.data.splitting import SplitRequest
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.folder import Experiment
from tune_encoder.export import choose, single_model
from tune_encoder.export.provenance import read_provenance
from tune_encoder.export.refit_runs import RefitRun
from tune_encoder.model.encoder import Encoder, rebuild_encoder
from tune_encoder.model.evaluate import evaluate_model
from tune_encoder.model.folder import METRICS
from tune_encoder.space import RandomSuggester, SearchSpace
from tune_encoder.training.fold_evaluation import evaluate_over_folds
from tune_encoder.training.loop import train
from tune_encoder.training.state import TrainState

REAL_TRIALS, REAL_SAMPLE_RATE = 8, 24000
COLUMNS = f"{'':12}{'skill':>7}{'ttl':>7}{'dp':>7}{'retrieval':>10}  95 % over voices"


def measure(data_dir: Path, root: Path, space: str, seed: int, trials: int | None = None) -> Path:
    """Search, export, and print scores on test; return the experiment's folder."""
    began = time.perf_counter()
    found = tune_encoder.search(space, data_dir, f"{space}{seed}", root, seed=seed, trials=trials)
    model = found.export()
    seconds = time.perf_counter() - began
    experiment = Experiment(found.path)
    (first,) = choose(experiment, 1)
    data = open_pack(pack_data(data_dir, first.config))
    n_epochs = total_epochs(experiment)
    print(f"\n{space}, seed {seed}: {n_epochs} epochs, {seconds:.0f} s to the model\n{COLUMNS}")
    for name in ("mean", "ridge", "statistics"):
        print_scores(name, data.info["baselines"]["test"][name])
    report("winner", single_model(first).encoder, first.config, data)
    print_exported(model)
    return found.path


def print_exported(model: Path) -> None:
    """Print the scores of its card: if it was trained on val, too, so were the baselines."""
    metrics = json.loads((model / METRICS).read_text())
    scores = metrics["scores"]["test"]
    if "val" in read_provenance(model)["trained_on"]:
        print("trained again on train and val:")
        for name in ("ridge", "statistics"):
            print_scores(name, scores[name])
    print_scores("exported", scores["model"], metrics["skill_interval_95"]["test"])


def total_epochs(experiment: Experiment) -> int:
    """Return the epochs of all trials."""
    return sum(len(trial.rows) for trial in experiment.trials())


def measure_rivals(found: Path, data_dir: Path, n_rivals: int) -> None:
    """Print scores on test of single runs of the first start configs of a search."""
    experiment = Experiment(found)
    n_epochs = total_epochs(experiment)
    print(f"one run of {n_epochs} epochs of each of the first start configs:", flush=True)
    for number, config in enumerate(islice(start_configs(experiment.space()), n_rivals), 1):
        rival = dataclasses.replace(config, epochs=n_epochs, num_threads=1)
        data = open_pack(pack_data(data_dir, rival))
        best, epoch = best_of_run(rival, data)
        report(f"start {number}", best, rival, data)
        again = trained_on_both(rival, data, epoch)
        report("and val, too", again, rival, all_voices(data, data.voice_kind("val")))


def import_turned(real: Path, out: Path, turn: float) -> None:
    """Import real recordings by time, begun at a part of them, after which their beginning comes.

    Args:
        real: Folder with voices/ and styles/.
        out: New data set.
        turn: Where they begin, from 0 to 1.
    """
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted((real / "voices").iterdir()):
            audio, rate = soundfile.read(path, dtype="float32")
            turned = np.roll(audio, -int(turn * len(audio)), axis=0)
            soundfile.write(Path(folder, f"{path.stem}.wav"), turned, rate, subtype="FLOAT")
        request = SplitRequest(how="time")
        pairing = pair_folders(Path(folder), real / "styles", request)
        import_pairs(pairing, out, REAL_SAMPLE_RATE, 0, request)


def start_configs(space: SearchSpace) -> Iterator[TrainConfig]:
    """Yield the configs that a search tries first."""
    for given in space.first_configs():
        yield space.config(space.sample(RandomSuggester(0), given))


def report(name: str, encoder: Encoder, config: TrainConfig, data: PackedData) -> None:
    """Print the scores of an encoder on test."""
    found = evaluate_model(encoder, config, data, "test")
    print_scores(name, found.scores["model"], found.interval)


def print_scores(
    name: str, scores: Mapping[str, float], interval: tuple[float, float] | None = None
) -> None:
    """Print a line of the table."""
    numbers = "".join(f"{scores[key]:7.3f}" for key in ("skill", "skill_ttl", "skill_dp"))
    shown = "" if interval is None else f"  {interval[0]:.3f} to {interval[1]:.3f}"
    print(f"{name:12}{numbers}{scores['retrieval']:10.3f}{shown}", flush=True)


def best_of_run(config: TrainConfig, data: PackedData) -> tuple[Encoder, int]:
    """Train once; return the encoder and the epoch with the lowest validation loss."""
    best: list[dict[str, torch.Tensor]] = []
    epochs = [0]

    def keep(row: EpochRow, state: TrainState) -> None:
        if state.best is row:
            best[:] = [{name: each.clone() for name, each in state.model.state_dict().items()}]
            epochs[0] = row["epoch"]

    with tempfile.TemporaryDirectory() as folder:
        train(dataclasses.replace(config, use_tensorboard=False), data, Path(folder), keep)
    return rebuild_encoder(config, best[0]), epochs[0]


def trained_on_both(config: TrainConfig, data: PackedData, epoch: int) -> Encoder:
    """Train on train and val, up to an epoch, or on known voices to the last, as a refit does."""
    last = config.epochs if data.voice_kind("val") == KNOWN else epoch
    with tempfile.TemporaryDirectory() as folder:
        run = RefitRun(dataclasses.replace(config, early_stopping_patience=0), last, Path(folder))
        run.train(all_voices(data, data.voice_kind("val")), lambda row: None)
        return rebuild_encoder(config, run.read_state()["model"])


def leave_one_out(model: Path, data_dir: Path) -> None:
    """Print scores over folds of one voice each."""
    voices = open_pack(pack_data(data_dir, TrainConfig())).info["voices"]["train"]
    found = evaluate_over_folds(model, data_dir, voices, lambda row, last: None)
    print(f"\nleave one of {voices} voices out, with standard errors over folds")
    for name, scores in found.scores.items():
        parts = (
            f"{part} {scores[f'skill_{part}']:.3f} +- {scores[f'skill_{part}_se']:.3f}"
            for part in ("ttl", "dp")
        )
        print(f"{name:12}{', '.join(parts)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", nargs="*", default=["quick"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--clips-per-voice", type=int, nargs="+", default=[2])
    parser.add_argument("--rivals", type=int, default=2, help="start configs to train once")
    parser.add_argument("--real", type=Path, help="folder with voices/ and styles/")
    parser.add_argument("--turns", type=int, default=1, help="searches of the real recordings")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quality_") as folder:
        root = Path(folder)
        for space in options.space:
            for seed in options.seeds:
                for clips in options.clips_per_voice:
                    print(f"\ndemo, {clips} clips of each voice in val and test")
                    data_dir = cached_demo(clips)
                    found = measure(data_dir, root / f"demo{clips}", space, seed)
                    measure_rivals(found, data_dir, options.rivals)
        if options.real is not None:
            for turn in range(options.turns):
                data_dir = root / f"voices{turn}"
                import_turned(options.real, data_dir, turn / options.turns)
                for seed in options.seeds:
                    found = measure(data_dir, root / f"real{turn}", "quick", seed, REAL_TRIALS)
                    measure_rivals(found, data_dir, options.rivals)
            leave_one_out(found / "best", data_dir)


if __name__ == "__main__":
    main()
