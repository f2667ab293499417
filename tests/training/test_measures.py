from itertools import pairwise

import pytest

from tests.training.runs import ignore, tiny
from tune_encoder.training.logs import Logged
from tune_encoder.training.loop import train
from tune_encoder.training.measures import parameters_of

BOTH = Logged(measures=("parameters", "clone_ms"))


def test_every_row_has_what_is_asked_for_measured_once(packed, tmp_path):
    state = train(tiny(epochs=3), packed, tmp_path, ignore, logged=BOTH)

    weights = sum(weight.numel() for weight in state.model.parameters())
    assert [row["parameters"] for row in state.history] == [weights] * 3
    assert 0.1 < state.history[0]["clone_ms"] < 10_000
    assert all(one["clone_ms"] == other["clone_ms"] for one, other in pairwise(state.history))


def test_measuring_changes_no_weight_and_no_score(packed, tmp_path):
    plain = train(tiny(epochs=2), packed, tmp_path / "plain", ignore)
    measured = train(tiny(epochs=2), packed, tmp_path / "measured", ignore, logged=BOTH)

    assert [row["val_loss"] for row in measured.history] == [
        row["val_loss"] for row in plain.history
    ]
    assert "parameters" not in plain.history[0]


def test_a_resumed_run_keeps_what_was_measured(packed, tmp_path):
    first = train(tiny(epochs=1), packed, tmp_path, ignore, logged=BOTH)

    more = train(tiny(epochs=2), packed, tmp_path, ignore, first.state_dict(), logged=BOTH)

    assert more.history[1]["clone_ms"] == first.history[0]["clone_ms"]


@pytest.mark.parametrize("head", ["joint", "pca", "linear", "lowrank", "query"])
@pytest.mark.parametrize("encoder_type", ["convnext", "cnn", "transformer"])
def test_parameters_are_counted_without_making_the_network(packed, tmp_path, head, encoder_type):
    config = tiny(epochs=1, head=head, encoder_type=encoder_type)

    state = train(config, packed, tmp_path, ignore, logged=BOTH)

    assert parameters_of(config, packed.statistics) == state.history[0]["parameters"]
