"""One run by hand, and the folder it leaves.

config.yaml            the settings, resolved; trains again as it is
best_model.pt          the epoch of the lowest validation loss
final_checkpoint.pt    the last epoch
metrics.jsonl          one row an epoch
logs/                  TensorBoard
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tune_encoder.checkpoints import load_state, save_state
from tune_encoder.config import TrainConfig, to_mapping, write_yaml
from tune_encoder.data.pack import PackedData, open_pack, pack_data
from tune_encoder.files import write_whole
from tune_encoder.trainer import Row, TrainState, train

BEST, FINAL, CONFIG = "best_model.pt", "final_checkpoint.pt", "config.yaml"


def prepare(config: TrainConfig) -> PackedData:
    """Check and pack the run's data, and map it."""
    return open_pack(pack_data(Path(config.data_dir), config))


def train_by_hand(
    config: TrainConfig, data: PackedData, watch: Callable[[Row], None], resume: Path | None = None
) -> TrainState:
    """Train into `config.checkpoint_dir`.

    Args:
        config: The settings, with `data_dir` set.
        data: What `prepare` returned.
        watch: Is told of every epoch.
        resume: A checkpoint to go on from.
    """
    # config.yaml is read relative to its own folder, not to this one.
    config = replace(config, data_dir=str(Path(config.data_dir).resolve()))
    folder = Path(config.checkpoint_dir)
    checkpoint = None if resume is None else load_state(resume)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / CONFIG, write_yaml(to_mapping(config)).encode())

    def report(row: Row, state: TrainState) -> None:
        content = state.state_dict()
        if state.best is row:
            save_state(folder / BEST, content)
        save_state(folder / FINAL, content)
        watch(row)

    return train(config, data, folder, report, checkpoint)


def settings_of(checkpoint: Path) -> dict[str, Any]:
    """Return the settings a checkpoint was trained with."""
    settings: dict[str, Any] = load_state(checkpoint)["config"]
    return settings
