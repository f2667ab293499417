from pathlib import Path

import pytest
import torch

from tests.builders import worker_settings
from tune_encoder.config import TrainConfig
from tune_encoder.data.packing import pack_data
from tune_encoder.errors import StorageError
from tune_encoder.space import largest_configs, parse_space
from tune_encoder.training.loop import train_two_steps
from tune_encoder.tuning.driver.gpu_memory import _measure_peak, check_share

GIB = 2**30
SPACE = {
    "space": {
        "batch_size": {"int": [16, 56], "step": 20},
        "crop_seconds": {"float": [1, 2], "step": 0.5},
        "learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "hidden_dim": {"choice": [32, 96, 64]},
        "gradient_accumulation": {"choice": [4, 2]},
        "encoder_type": {"choice": ["cnn", "convnext"]},
        "num_layers": {"int": [1, 6], "when": {"encoder_type": "convnext"}},
    }
}


def test_the_largest_configs_have_the_highest_numbers_and_each_choice_once():
    space = parse_space(SPACE, "space.yaml", Path())
    found = sorted(largest_configs(space, 16), key=lambda settings: str(settings["encoder_type"]))

    named = [[each[p.name] for p in space.parameters] for each in found]
    defaults = TrainConfig()
    assert named == [
        [56, 2, 1e-2, 96, 2, "cnn", defaults.num_layers],
        [56, 2, 1e-2, 96, 2, "convnext", 6],
    ]


@pytest.mark.parametrize(
    ("share", "peak", "words"),
    [
        (
            0.25,
            21 * GIB,
            r"gpus is 0.25, 20.0 of a GPU's 80.0 GiB, but .* needs 21.0; set it to 0.27",
        ),
        (0.9, 81 * GIB, r"needs 81.0; no GPU here is large enough, or lower batch_size"),
    ],
)
def test_a_fraction_that_is_too_small_is_refused_with_one_that_is_not(share, peak, words):
    with pytest.raises(StorageError, match=words):
        check_share(share, peak, 80 * GIB)


def test_a_fraction_that_suffices_is_not_refused():
    check_share(0.25, 20 * GIB, 80 * GIB)


def test_two_steps_train_and_validate_and_leave_nothing(packed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train_two_steps(TrainConfig(hidden_dim=8, num_layers=1, crop_seconds=0.5, device="cpu"), packed)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells nothing where CUDA is")
def test_without_cuda_nothing_is_measured():
    assert _measure_peak([{}], worker_settings()) is None


@pytest.mark.gpu
def test_a_larger_batch_takes_more_of_the_gpu(data_dir):
    worker = worker_settings(pack=pack_data(data_dir, TrainConfig()))
    small, large = (_measure_peak([{"batch_size": size}], worker) for size in (8, 512))

    assert isinstance(small, tuple)
    assert isinstance(large, tuple)
    assert small[0] < large[0] < large[1] == small[1]
