import dataclasses
import re
from typing import Any, cast

import numpy as np
import pytest

from tune_encoder.data.voice_bank import read_bank
from tune_encoder.export.card import (
    describe_int8,
    describe_overlap,
    describe_retraining,
    describe_uncertainty,
)
from tune_encoder.export.contents import Retrained
from tune_encoder.export.provenance import describe_data

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # the first trains and exports


@pytest.fixture(scope="module")
def card(exported):
    return (exported[0] / "MODEL_CARD.md").read_text()


def rows(card, first):
    """Cells of the table rows that begin with a word."""
    lines = re.findall(rf"^\| {re.escape(first)} \|.*\|$", card, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_card_says_what_it_is_and_why(card, best_epoch):
    assert rows(card, "checkpoint") == [["checkpoint", f"trial 1 of made, epoch {best_epoch}"]]
    assert rows(card, "selected as") == [["selected as", "the lowest val_loss of 2 trials"]]
    assert "$" not in card


def test_the_card_has_the_scores_of_each_split_with_baselines_and_interval(card, exported):
    _, metrics = exported
    for split in ("val", "test"):
        mean, ridge, _, model = rows(card, split)[-4:]
        low, high = metrics["skill_interval_95"][split]
        assert (mean[2], ridge[2], model[2]) == ("mean", "ridge", "model")
        assert model[1] == metrics["voices"][split] == "new"
        assert model[3] == f"{metrics['scores'][split]['model']['skill']:.3f}"
        assert model[4] == f"{low:.3f} to {high:.3f}"
        assert ridge[3] == f"{metrics['scores'][split]['ridge']['skill']:.3f}"


def test_the_card_tells_data_search_and_versions(card, packed):
    assert f"Fingerprint `{packed.info['fingerprint']}`." in card
    assert rows(card, "train")[0][:3] == ["train", "24", "24"]
    assert "The splits have different voices: no style of the scored splits was trained on." in card
    assert re.search(
        r"The search: 2 trials \(2 COMPLETE\), 12 epochs, \d+:\d\d of training\.", card
    )
    assert rows(card, "learning_rate") == [
        ["learning_rate", "0.01", "1e-08 to 0.1, logarithmic"],
    ]
    assert rows(card, "torch")[0][1]


def test_the_card_has_lines_to_fill_in_and_five_languages(card):
    for line in ("Licence of this model:", "Consent:", "Style version:", "Contact:"):
        assert re.search(rf"^- {line}.*:?$", card, re.MULTILINE)
    assert re.findall(r"^```(\w+)$", card, re.MULTILINE) == [
        *("python", "javascript", "cpp", "rust", "csharp"),
    ]


def test_the_python_of_the_card_is_python(card):
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)

    compile(code, "card", "exec")


def test_voices_that_were_trained_on_are_counted_and_the_card_says_so(packed, tmp_path):
    leaky = dataclasses.replace(packed, val=packed.train)

    assert describe_data(packed, ("train",))["known_styles"] == {"val": 0, "test": 0}
    assert describe_data(leaky, ("train",))["known_styles"] == {"val": 24, "test": 0}
    assert describe_data(packed, ("train", "val"))["known_styles"] == {"test": 0}
    assert describe_overlap({"val": 24, "test": 0}) == (
        "The splits share voices: 24 of val were trained on too. The scores tell how well known "
        "voices are recognised, not how well new ones are cloned."
    )


def test_a_retrained_model_is_compared_with_that_of_the_search():
    retrained: dict[str, Any] = {
        "split": "test",
        "search_skill": 0.31,
        "mean": 0.32,
        "sd": 0.012,
        "seeds": [1, 2],
    }

    retrained |= {"exported_skill": 0.33, "difference_95": (-0.01, 0.05)}
    assert describe_retraining(cast("Retrained", retrained), "new") == [
        "new-voice skill on test: search 0.310, retrained mean 0.320, sd 0.012 over 2 seeds",
        "exported 0.330: +0.020 (95 % -0.010 to +0.050 over voices), not significant",
    ]
    retrained["difference_95"] = None
    assert describe_retraining(cast("Retrained", retrained), "known") == [
        "known-voice skill on test: search 0.310, retrained mean 0.320, sd 0.012 over 2 seeds",
        "exported 0.330: +0.020 (too few voices for an interval)",
    ]


def test_the_card_says_how_far_other_voices_could_move_the_skill(card, exported):
    low, high = exported[1]["skill_interval_95"]["test"]

    line = f"- new-voice skill on test: 95 % between {low:.3f} and {high:.3f}, over voices"
    assert line in card.splitlines()


def test_where_there_is_no_interval_the_reason_is_said_and_so_is_a_better_baseline():
    metrics: Any = {
        "voices": {"val": "known", "test": "new"},
        "skill_interval_95": {"val": None, "test": None},
        "scores": {
            "val": {"mean": {"skill": 0.0}, "ridge": {"skill": 0.2}, "model": {"skill": 0.3}},
            "test": {"mean": {"skill": 0.0}, "ridge": {"skill": 0.1}, "model": {"skill": -0.2}},
        },
    }

    assert describe_uncertainty(metrics) == [
        "known-voice skill on val: no interval, since it shares voices with train: it says nothing "
        "of other voices",
        "new-voice skill on test: too few voices for an interval, which needs at least 5",
        "new-voice skill -0.200 on test is below the baseline ridge (0.100) and below the mean "
        "voice (0)",
    ]


def test_the_training_voices_lie_beside_the_model(exported, packed):
    bank = read_bank(exported[0])

    assert bank is not None
    order = [packed.train.voices.index(name) for name in bank.names]
    assert sorted(bank.names) == sorted(packed.train.voices)
    np.testing.assert_allclose(bank.styles.ttl, packed.train.styles.ttl[order], atol=1e-3)
    np.testing.assert_allclose(bank.styles.dp, packed.train.styles.dp[order], atol=1e-3)


def test_what_int8_loses_is_said_for_each_split():
    metrics: Any = {
        "onnx": {"int8_skill": {"test": 0.4012}},
        "scores": {"test": {"model": {"skill": 0.4022}}},
        "voices": {"test": "new"},
    }

    assert describe_int8(metrics) == [
        "int8: new-voice skill 0.401 on test, -0.0010 against float32"
    ]
