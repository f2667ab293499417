"""Processes that make clips: what they met is said, and none outlives a failure."""

import multiprocessing
from multiprocessing.context import SpawnProcess

import pytest

from tests.speech.conftest import small
from tests.speech.stand_in import preset_styles
from tune_encoder.errors import StorageError
from tune_encoder.speech.clips import Clip, Script
from tune_encoder.speech.texts import shipped_texts
from tune_encoder.speech.voices import Cast
from tune_encoder.speech.workers import Studio, _Worker

pytestmark = pytest.mark.timeout(60)


def studio(folder):
    settings = small()
    cast = Cast(settings, preset_styles(), {}, [])
    return Studio("supertonic-3", folder, Script(settings, cast, shipped_texts()))


def clips(folder):
    return [Clip(voice, 0, folder / f"{voice}.npz") for voice in range(4)]


def test_a_worker_that_has_ended_says_why_even_if_it_is_asked_afterwards(tmp_path):
    worker = _Worker(studio(tmp_path / "none"))
    worker._process.join()

    with pytest.raises(StorageError, match=r"none: has no onnx/tts\.json, so it is no Supertonic"):
        worker.ask(iter(clips(tmp_path)))


def test_where_not_all_workers_start_none_is_left(models, tmp_path, monkeypatch):
    start, started = SpawnProcess.start, []

    def start_one(process):
        if started:
            raise OSError("no room for another process")
        started.append(process)
        start(process)

    monkeypatch.setattr(SpawnProcess, "start", start_one)
    with pytest.raises(OSError, match="no room for another process"):
        list(studio(models).make_all(clips(tmp_path), 2))

    assert len(started) == 1
    assert not multiprocessing.active_children()
