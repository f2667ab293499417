"""`val_similarity` in a space: who listens, when, at what cost, and what is refused."""

import re
from pathlib import Path

import pytest

from tests.builders import parse_space
from tune_encoder.config import SUPERTONIC_MODELS, SimilaritySettings, better_direction
from tune_encoder.errors import ConfigError
from tune_encoder.space import space_to_content
from tune_encoder.space.listening import Listening, listening_of
from tune_encoder.space.plan import plan_search

SECOND = {"metric": {"second": "val_similarity"}, "scheduler": {"name": "none"}}
LIMIT = {"constraints": {"val_similarity": {"min": 0.8}}}


def space_of(**content):
    budget = {"trials": 9, "epochs": 9}
    searched = {"dropout": {"float": [0.0, 0.4]}}
    return parse_space({"budget": budget, "space": searched, **content}, "space.yaml")


def refused(message, **content):
    with pytest.raises(ConfigError, match=rf"^space\.yaml{re.escape(message)}$"):
        space_of(**content)


@pytest.mark.parametrize("asked", [SECOND, LIMIT])
def test_a_search_listens_if_it_compares_or_limits_the_similarity(asked):
    space = space_of(**asked)

    assert space.listens
    assert space.measures == ()  # it is no quantity of a config, by which one could be refused
    assert listening_of(space) is not None


def test_a_search_that_has_no_use_for_it_does_not_listen_whatever_is_set():
    space = space_of(similarity={"voices": 9, "every": 0}, scheduler={"name": "none"})

    assert not space.listens
    assert listening_of(space) is None
    assert space_to_content(space)["similarity"]["voices"] == 9


def test_more_similarity_is_better():
    assert better_direction("val_similarity") == "max"
    assert space_of(**SECOND).metric.directions == ("min", "max")


def test_it_is_due_at_the_first_epoch_every_few_and_at_rungs():
    listening = Listening(SimilaritySettings(every=4), rungs=(6,))

    assert [epoch for epoch in range(1, 10) if listening.is_due(epoch)] == [1, 4, 6, 8]
    at_rungs = Listening(SimilaritySettings(every=0), rungs=(2, 6))
    assert [epoch for epoch in range(1, 10) if at_rungs.is_due(epoch)] == [1, 2, 6]


@pytest.mark.parametrize(
    ("content", "count"),
    [
        ({**SECOND, "similarity": {"every": 4}}, 9 * 4),  # epochs 1, 4, 8, 9
        ({**SECOND, "similarity": {"every": 100}}, 9 * 2),
        # 9 trials to epoch 1, 3 to 3, 1 to 9
        ({**LIMIT, "similarity": {"every": 0}}, 9 + 3 + 1),
        ({**LIMIT, "similarity": {"every": 1}}, 9 + 3 * 2 + 6),
    ],
)
def test_measurements_are_counted_over_the_trials_that_reach_them(content, count):
    space = space_of(**content)
    listening = listening_of(space)

    assert listening is not None
    assert listening.count(plan_search(space)) == count
    assert listening.speech_s(plan_search(space)) == count * 4 * 2 * 3.5


def test_the_folder_of_the_model_is_found_from_that_of_the_file():
    where = Path("/work/spaces")
    content = {"similarity": {"model_dir": "../models"}, "space": {"dropout": {"choice": [0.1]}}}

    space = parse_space(content, "space.yaml", where)

    assert space.similarity.folder == Path("/work/models")
    again = parse_space(space_to_content(space), "again", Path("/elsewhere"))
    assert again.similarity == space.similarity
    assert parse_space({"space": content["space"]}, "none", where).similarity.folder is None


def test_it_cannot_be_the_metric():
    said = r"^space\.yaml, metric: name is 'val_similarity'; it must be one of val_loss, val_skill,"
    with pytest.raises(ConfigError, match=said):
        space_of(metric={"name": "val_similarity"})


def test_several_processes_are_refused():
    refused(
        ": resources.processes is 2, but val_similarity is measured in one process; set it to 1, "
        "or leave out the metric and the constraints of that name",
        **LIMIT,
        resources={"processes": 2, "cpus": 2},
    )


def test_measurements_at_rungs_that_are_not_there_are_refused():
    refused(
        ": similarity.every is 0, and the scheduler none has no rungs, so val_similarity of most "
        "epochs would be that of the first; write a number of epochs",
        **SECOND,
        similarity={"every": 0},
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"sentences": 4}, "sentences is 4; it must be a whole number from 1 to 3"),
        ({"voices": 0}, "voices is 0; it must be a whole number from 1 to 1000"),
        ({"model": "sonic"}, "model is 'sonic'; it must be one of " + ", ".join(SUPERTONIC_MODELS)),
        ({"evry": 3}, "unknown setting 'evry'; did you mean 'every'?"),
    ],
)
def test_a_bad_setting_is_named(setting, said):
    refused(f", similarity: {said}", similarity=setting)
