"""Training on a pack with copies."""

import dataclasses

import pytest
import torch

from tests.training.runs import ignore, tiny
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.errors import StorageError
from tune_encoder.training.loop import train


@pytest.fixture(scope="module")
def copied(data_dir, cache):
    return open_pack(pack_data(data_dir, tiny(augment_copies=1)))


def test_a_checkpoint_of_a_pack_with_copies_is_refused_without_them_and_the_other_way_round(
    copied, packed, tmp_path
):
    with_copies = tiny(augment_copies=1, epochs=1)
    of_copies = train(with_copies, copied, tmp_path / "copied", ignore).state_dict()
    of_clips = train(tiny(epochs=1), packed, tmp_path / "plain", ignore).state_dict()

    for data, other, words in ((packed, of_copies, "1, is 0"), (copied, of_clips, "0, is 1")):
        said = f"trained on other data: augment_copies was {words}; use the same data"
        with pytest.raises(StorageError, match=said):
            train(tiny(epochs=2), data, tmp_path, ignore, other)


def losses(config, data, folder):
    return [row["train_loss"] for row in train(config, data, folder, ignore).history]


def test_a_run_learns_from_copies_and_is_the_same_again(copied, packed, tmp_path):
    config = tiny(augment_copies=1, augment_prob=0.0, epochs=2)

    first, again = (losses(config, copied, tmp_path / name) for name in ("first", "again"))
    without = losses(dataclasses.replace(config, augment_copies=0), packed, tmp_path / "plain")

    assert first == again
    assert first != without
    assert torch.tensor(first).isfinite().all()


def test_val_has_no_copies_and_scores_what_it_always_did(copied, packed, tmp_path):
    config = tiny(learning_rate=1e-8, epochs=1)

    rows = [train(config, data, tmp_path / name, ignore).history[0]
            for name, data in (("copied", copied), ("plain", packed))]  # fmt: skip

    assert rows[0]["val_loss"] == pytest.approx(rows[1]["val_loss"], rel=1e-3)
