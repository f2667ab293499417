"""The listening test within the report of a search."""

import dataclasses
import itertools
import re
import shutil
from pathlib import Path

import pytest

from tests.report.browser import Tags
from tests.report.conftest import CONTENT, TRIALS, made_search, with_checkpoint
from tune_encoder.config import TrainConfig
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.samples import find_samples, read_sample, write_sample
from tune_encoder.errors import ConfigError
from tune_encoder.report.contents import read_contents
from tune_encoder.report.page import render
from tune_encoder.space import parse_space

pytestmark = pytest.mark.weights


def wanting(**report):
    return parse_space({**CONTENT, "report": report}, "test", Path())


@pytest.fixture(scope="module")
def searched(stand_in_model, tmp_path_factory):
    """A function that makes a search on speech of the stand-in models, with a winner."""
    data = stand_in_model / "set"
    packed = open_pack(pack_data(data, TrainConfig()))

    def make(**report):
        root = tmp_path_factory.mktemp("searched")
        fingerprint = packed.info["fingerprint"]
        found = made_search(root, TRIALS, wanting(**report), data, fingerprint=fingerprint)
        return with_checkpoint(found, data, packed, noise=0)

    return make


def listened(contents):
    return [section for section in contents.sections if section.key == "listen"]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_winner_is_heard_on_test_voices_if_the_space_asks_for_it(searched, stand_in):
    contents = read_contents(searched(listen=True, model_dir=str(stand_in)))

    (section,) = listened(contents)
    assert section.notes == []
    assert 1 <= len(section.heard) <= 3
    text = render(contents)
    page = Tags(text)
    names = {each["aria-label"] for each in page.all("audio")}
    for card in section.heard:
        assert len(card.clips) == 5
        assert f"Clone, sentence 3 of {card.name}" in names
    levels = [int(tag[1]) for tag, _ in page.found if re.fullmatch(r"h[1-6]", tag)]
    assert max(b - a for a, b in itertools.pairwise(levels)) == 1
    assert "trained on English speech" in text


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_voice_whose_clip_is_too_short_is_left_out_and_others_are_heard(
    stand_in_model, stand_in, tmp_path
):
    data = shutil.copytree(stand_in_model / "set", tmp_path / "set")
    (path,) = find_samples(data / "test")
    sample = read_sample(path)
    write_sample(path, dataclasses.replace(sample, audio=sample.audio[:22050]))
    shutil.move(find_samples(data / "train")[0], data / "test")
    packed = open_pack(pack_data(data, TrainConfig()))
    fingerprint = packed.info["fingerprint"]
    space = wanting(listen=True, model_dir=str(stand_in))
    found = made_search(tmp_path, TRIALS, space, data, fingerprint=fingerprint)

    (section,) = listened(read_contents(with_checkpoint(found, data, packed, noise=0)))

    (note,) = section.notes
    assert note == (
        f"Left out: {sample.voice}: 0.50 s of sound; at least 1 s is needed, so record more or "
        "remove the file"
    )
    assert len(section.heard) == 1


def test_models_that_are_missing_are_said_in_one_line(searched, tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERTONIC_CACHE_DIR", str(tmp_path / "cache"))
    place = tmp_path / "cache" / "supertonic-3"
    (section,) = listened(read_contents(searched(listen=True)))
    assert section.heard == []
    assert section.notes == [
        f"{place}: has no files of supertonic-3; `tune-encoder listen --model supertonic-3` "
        "downloads them"
    ]


def test_nothing_is_spoken_unless_it_is_asked_for(searched):
    assert listened(read_contents(searched())) == []


def test_a_report_setting_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"^test, report: .*'listens'; did you mean 'listen'\?"):
        wanting(listens=True)
