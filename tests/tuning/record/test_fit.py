"""Edits of search.yaml between two launches: those that the record cannot take are refused."""

import re
import sqlite3
from contextlib import closing, nullcontext
from typing import Any

import pytest

from tests.builders import make_search, parse_space
from tune_encoder.config import CopySettings, to_mapping
from tune_encoder.errors import ConfigError
from tune_encoder.tuning.record.record import Record

CONTENT: dict[str, Any] = {
    "budget": {"trials": 6, "epochs": 4},
    "space": {
        "head": {"choice": ["pca", "linear"]},
        "learning_rate": {"float": [1e-4, 1e-2], "log": True},
    },
}
SPACE = parse_space(CONTENT)
CHOSEN = {"head": "pca", "learning_rate": 0.001}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    trials = [("COMPLETE", CHOSEN, [0.9, 0.8]), ("RUNNING", {**CHOSEN, "head": "linear"}, [0.7])]
    return make_search(tmp_path_factory.mktemp("runs"), SPACE, trials)


def edited(section, **changes):
    return parse_space({**CONTENT, section: {**CONTENT.get(section, {}), **changes}})


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        (
            edited("space", head={"choice": ["pca", "linear", "joint"]}),
            "head is a choice of pca, linear, joint, in the trials it was a choice of pca, linear",
        ),
        (
            edited("space", head={"choice": ["linear", "pca"]}),
            "head is a choice of linear, pca, in the trials it was a choice of pca, linear",
        ),
        (
            edited("space", learning_rate={"float": [1e-4, 1e-2]}),
            "learning_rate is a range of float, in the trials it was a range of float with log",
        ),
        (
            edited("space", learning_rate={"choice": [1e-4, 1e-2]}),
            "learning_rate is a choice of 0.0001, 0.01, in the trials it was a range of float "
            "with log",
        ),
        (edited("budget", epochs=3), "budget.epochs is 3, the trials were planned for 4"),
        (edited("metric", name="val_skill"), "metric is val_skill, the trials were compared by"),
        (edited("validation", voices=3), "validation.voices is 3, the trials had another valid"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_an_edit_that_does_not_fit_is_refused_in_a_line_that_names_fork(searched, space, reason):
    with pytest.raises(ConfigError) as refused:
        Record.open(searched, space)

    said = str(refused.value)
    assert said.startswith(f"{searched.path / 'search.yaml'}, space: {reason}")
    assert said.endswith(f"`tune-encoder fork mine NEW --space FILE --root {searched.path.parent}`")


@pytest.mark.parametrize("is_older", [False, True])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hop_length": 128}, "hop_length is 128, in the trials it was 256"),
        ({"augment_copies": 2}, "augment_copies is 2, in the trials it was 0"),
    ],
)
def test_an_edit_after_which_trials_cannot_be_compared_names_warm_start(
    tmp_path, changes, reason, is_older
):
    experiment = make_search(tmp_path, SPACE, [("COMPLETE", CHOSEN, [0.9, 0.8])])
    if is_older:
        forget_settings(experiment.study_path, to_mapping(CopySettings()))

    said = (
        f"{experiment.path / 'search.yaml'}, space: {reason}; write it as it was, or start a new "
        "search with the option `--warm-start mine`"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}$"):
        Record.open(experiment, edited("base", **changes))
    assert experiment.trials()[0].settings["augment_copies"] == 0
    assert len(Record.open(experiment, SPACE).trials) == 1


def forget_settings(study, names):
    """Take settings out of the record, as before there were any of these names."""
    with closing(sqlite3.connect(study)) as database, database:
        for name in names:
            database.execute(
                "UPDATE trial_user_attributes SET value_json = json_remove(value_json, ?) "
                "WHERE key = 'settings'",
                (f"$.{name}",),
            )


@pytest.mark.parametrize(
    "space",
    [
        SPACE,
        edited("space", learning_rate={"float": [1e-5, 1e-1], "log": True}),
        edited("space", dropout={"float": [0.0, 0.5]}),
        edited("budget", trials=9),
        edited("base", weight_decay=0.1),
    ],
    ids=["none", "a wider range", "one more parameter", "more trials", "base"],
)
def test_an_edit_that_fits_is_taken(searched, space):
    assert len(Record.open(searched, space).trials) == 2


@pytest.mark.parametrize(("folds", "fits"), [(5, True), (4, False), (1, False)])
def test_another_number_of_folds_is_refused(tmp_path, folds, fits):
    experiment = make_search(tmp_path, SPACE, [("COMPLETE", CHOSEN, [0.9, 0.8])])
    experiment.write_search({**experiment.read_search(), "baselines": {}, "folds": 5})

    refused = pytest.raises(ConfigError, match=f"validation.voices is {folds}, the trials had ano")
    with nullcontext() if fits else refused:
        Record.open(experiment, edited("validation", voices=folds))


@pytest.mark.parametrize(("folds", "fits"), [(5, True), (1, False)])
def test_an_older_search_does_not_say_how_many_folds_it_has(tmp_path, folds, fits):
    experiment = make_search(tmp_path, SPACE, [("COMPLETE", CHOSEN, [0.9, 0.8])])
    experiment.write_search({**experiment.read_search(), "baselines": {}})

    refused = pytest.raises(ConfigError, match=r"validation.voices is 1, the trials had another")
    with nullcontext() if fits else refused:
        Record.open(experiment, edited("validation", voices=folds))


def test_two_metrics_in_place_of_one_are_refused(searched):
    two = {
        "metric": {"name": "val_loss", "second": "parameters"},
        "searcher": {"name": "nsga2"},
        "scheduler": {"name": "none"},
    }
    space = parse_space({**CONTENT, **two})

    with pytest.raises(ConfigError, match=r"metric has 2 names, the trials have another number"):
        Record.open(searched, space)
