"""What is heard of recordings whose voices are known."""

import re
from dataclasses import replace

import pytest

from tests.speech.stand_in import write_stand_in
from tune_encoder.config import ListenSettings
from tune_encoder.errors import ConfigError, DataError
from tune_encoder.report.listen import open_listener

pytestmark = pytest.mark.weights

VOICE = "supertonic-3"


@pytest.fixture(scope="module")
def heard(hear, spoken):
    names = ("F2", "M4")
    return dict(zip(names, hear(*(spoken / f"{name}.wav" for name in names)), strict=True))


def test_the_preset_that_speaks_is_found_by_ear(heard):
    for name, each in heard.items():
        preset, alike = each.nearest_preset
        assert preset == name
        assert alike > 0.93
        assert list(each.presets.values()) == sorted(each.presets.values(), reverse=True)
        assert len(each.presets) == 10


def test_halves_of_a_recording_are_alike(heard):
    assert all(each.halves > 0.85 for each in heard.values())


def test_the_mean_voice_is_less_like_a_preset_than_that_preset_and_it_is_said(heard):
    for name, each in heard.items():
        assert each.similarity < each.nearest_preset[1]
        (warning,) = [line for line in each.warnings() if "preset" in line]
        assert f"{name}.wav: the preset {name} is more like it than its clone is, " in warning


def test_a_preset_that_is_no_nearer_to_two_digits_is_not_warned_of(heard):
    as_near = replace(next(iter(heard.values())), similarity=0.981, presets={"F1": 0.984})

    assert [line for line in as_near.warnings() if "preset" in line] == []


def test_the_nearest_known_voice_is_one_of_training(heard):
    assert all(each.nearest[1] >= 0 for each in heard.values())


def test_a_model_of_another_version_is_refused(hear, spoken, tmp_path):
    models = write_stand_in(tmp_path / "models", version=1)
    (error,) = hear(spoken / "M4.wav", by=open_listener(VOICE, models, ListenSettings()))
    assert isinstance(error, DataError)
    assert re.search(
        r"F1\.json and .*M4\.wav are of different Supertonic versions \(cosine -?0\.\d\d; "
        r"within a version it is above 0\.7\); use styles of one version only$",
        str(error),
    )


def test_one_preset_is_no_scale(tmp_path):
    models = write_stand_in(tmp_path / "models", presets=("F1",))
    with pytest.raises(
        ConfigError,
        match=r"voice_styles: has one style JSON; copy the other presets of the model there, since "
        r"they are the scale$",
    ):
        open_listener(VOICE, models, ListenSettings())
