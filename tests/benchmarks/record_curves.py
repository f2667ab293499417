"""Train a space fully, once: the table of learning curves that `simulate` replays.

    python -m tests.benchmarks.record_curves

Takes about ten minutes on one core. No Ray and no search: every config is trained to its last
epoch by the trainer alone, on the demo voices.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tests.benchmarks.simulate import CURVES
from tune_encoder.data.demo import cached_demo
from tune_encoder.data.pack import PackedData, open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.space import SearchSpace, parse_space, sample_configs
from tune_encoder.training.loop import train
from tune_encoder.tuning.start import versions

COMMAND = "python -m tests.benchmarks.record_curves"
N_CONFIGS = 64
SEED = 4
# The ranges of default.yaml around encoders so small that an epoch takes about a second. No
# setting has a condition, so that every config is a point of one cube.
SPACE: dict[str, Any] = {
    "budget": {"trials": 24, "epochs": 9},  # the cosine of the learning rate ends at epoch 9
    "scheduler": {"grace_period": 1, "reduction_factor": 3},
    "base": {
        "warmup_epochs": 1,
        "early_stopping_patience": 0,
        "num_threads": 1,
        "use_tensorboard": False,
    },
    "space": {
        "learning_rate": {"float": [1.0e-4, 1.0e-2], "log": True},
        "weight_decay": {"float": [1.0e-6, 1.0e-1], "log": True},
        "hidden_dim": {"choice": [8, 16, 32, 48]},
        "num_layers": {"int": [1, 4]},
        "head": {"choice": ["pca", "lowrank", "linear"]},
        "dropout": {"float": [0.0, 0.4]},
        "augment_prob": {"float": [0.0, 0.9]},
    },
}


def main() -> None:
    space = parse_space(SPACE, "SPACE", Path())
    data = open_pack(pack_data(cached_demo(), space.config({})))
    head = {
        "command": COMMAND,
        "versions": versions(),
        "data": data.identity,
        "baselines": {name: scores["loss"] for name, scores in data.baselines.items()},
        "space": SPACE,
    }
    trials = list(tqdm(recorded(space, data), total=N_CONFIGS, ncols=80))
    lines = ",\n".join(json.dumps(trial) for trial in trials)
    CURVES.write_text(json.dumps(head, indent=1)[:-2] + f',\n "trials": [\n{lines}\n]}}\n')


def recorded(space: SearchSpace, data: PackedData) -> Iterator[dict[str, Any]]:
    """Yield each config with the validation loss and the seconds of each of its epochs."""
    searched = [parameter.name for parameter in space.parameters]
    for settings in sample_configs(space, N_CONFIGS, SEED):
        with tempfile.TemporaryDirectory() as folder:
            state = train(space.config(settings), data, Path(folder), lambda row, state: None)
        yield {
            "settings": {name: settings[name] for name in searched},
            "val_loss": [round(row["val_loss"], 6) for row in state.history],
            "seconds": [round(row["seconds"], 3) for row in state.history],
        }


if __name__ == "__main__":
    main()
