"""Clips made by several workers: what they meet is said."""

import pytest

from tests.speech.conftest import small
from tests.speech.stand_in import preset_styles
from tune_encoder.errors import StorageError
from tune_encoder.speech.clips import Clip, Script
from tune_encoder.speech.texts import shipped_texts
from tune_encoder.speech.voices import Cast
from tune_encoder.speech.workers import Studio

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_models_that_are_not_there_are_named_by_any_number_of_workers(tmp_path, n_workers):
    settings = small()
    cast = Cast(settings, preset_styles(), {}, [])
    studio = Studio("supertonic-3", tmp_path / "none", Script(settings, cast, shipped_texts()))
    clips = [Clip(voice, 0, tmp_path / f"{voice}.npz") for voice in range(4)]

    with pytest.raises(StorageError, match=r"none: has no onnx/tts\.json, so it is no Supertonic"):
        list(studio.make_all(clips, n_workers))
