import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soxr
from supertonic.loader import load_voice_style_from_json_file

from tests.fabricate import write_wav
from tune_encoder.data.audio import load_voice
from tune_encoder.data.voice_style import read_voice_style
from tune_encoder.errors import ConfigError, DataError, StorageError
from tune_encoder.model.clone import clone, open_engine, output_paths

REAL_CLIP = Path(__file__).parents[4] / "shared" / "real" / "voices" / "F1.wav"
needs_real = pytest.mark.skipif(
    not REAL_CLIP.exists(), reason="the real voices are not beside this checkout"
)


@pytest.fixture(scope="module")
def engine(model_dir):
    return open_engine(model_dir)


def distance(a, b):
    return float(np.linalg.norm(a.ttl - b.ttl) + np.linalg.norm(a.dp - b.dp))


def test_the_json_is_nested_typed_and_of_unit_rows(engine, voices, tmp_path):
    recording = write_wav(tmp_path / "me.wav", soxr.resample(voices[0], 24000, 44100), 44100)

    made = clone(engine, recording, tmp_path / "me.json")

    written = json.loads((tmp_path / "me.json").read_text())
    for name, shape in (("style_ttl", [1, 50, 256]), ("style_dp", [1, 8, 16])):
        data = np.array(written[name]["data"])
        assert list(data.shape) == written[name]["dims"] == shape
        assert written[name]["type"] == "float32"
        assert np.isfinite(data).all()
        np.testing.assert_allclose(np.linalg.norm(data, axis=-1), 1, atol=1e-5)
    assert written["metadata"].pop("extracted_at")
    assert written["metadata"] == {
        "source_file": "me.wav",
        "source_sample_rate": 44100,
        "target_sample_rate": 24000,
    }
    assert distance(read_voice_style(tmp_path / "me.json"), made.style) < 1e-4


def test_supertonics_own_loader_reads_the_style_that_was_written(engine, voices, tmp_path):
    recording = write_wav(tmp_path / "me.wav", voices[0])

    made = clone(engine, recording, tmp_path / "me.json")

    loaded = load_voice_style_from_json_file(tmp_path / "me.json")
    assert loaded.ttl.dtype == loaded.dp.dtype == np.float32
    np.testing.assert_allclose(loaded.ttl, made.style.ttl[None], atol=1e-6)
    np.testing.assert_allclose(loaded.dp, made.style.dp[None], atol=1e-6)


def test_rate_channels_and_level_of_a_recording_hardly_change_its_style(engine, voices, tmp_path):
    mono = write_wav(tmp_path / "mono.wav", voices[0])
    upsampled = 0.5 * soxr.resample(voices[0], 24000, 44100)
    stereo = write_wav(tmp_path / "stereo.wav", np.stack([upsampled, upsampled], axis=1), 44100)
    other = write_wav(tmp_path / "other.wav", voices[1])

    usual, converted, another = (
        clone(engine, path, tmp_path / "out.json").style for path in (mono, stereo, other)
    )

    assert distance(usual, converted) < 0.1 * distance(usual, another)


def test_a_recording_under_a_second_is_refused_and_nothing_is_written(engine, voices, tmp_path):
    recording = write_wav(tmp_path / "short.wav", voices[0][:12000])

    with pytest.raises(
        DataError, match=r"short\.wav: 0\.\d\d s of sound; at least 1 s.*record more"
    ):
        clone(engine, recording, tmp_path / "out.json")

    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("seconds", [1.5, 3.5])
def test_a_warning_is_given_under_three_seconds_of_sound(engine, voices, tmp_path, seconds):
    audio = np.resize(np.concatenate(voices), round(seconds * 24000))
    recording = write_wav(tmp_path / "me.wav", audio)

    warnings = clone(engine, recording, tmp_path / "out.json").warnings()

    assert len(warnings) == (seconds < 3)
    if warnings:
        said = r"me\.wav: 1\.\d s of sound; use at least 3 s for a more reliable style"
        assert re.search(said, warnings[0])


# --- engines -------------------------------------------------------------------------------------


def test_onnxruntime_is_chosen_where_its_file_is_and_torch_where_a_device_is_named(
    model_dir, tmp_path
):
    without = shutil.copytree(model_dir, tmp_path / "without")
    (without / "voice_encoder.onnx").unlink()

    assert open_engine(model_dir).name == "onnxruntime"
    assert open_engine(model_dir, "cpu").name == "torch on cpu"
    assert open_engine(without).name == "torch on cpu"


@pytest.mark.parametrize("seconds", [0.3, 2.0, 2.00005, 4.3, 11.0])
def test_both_engines_give_one_style(model_dir, voices, seconds):
    """Shorter than a window of 2 s, equal, a sample more, and of several windows."""
    audio = np.resize(np.concatenate(voices), round(seconds * 24000))
    torchs, onnx = open_engine(model_dir, "cpu"), open_engine(model_dir)

    expected, style = torchs.style(audio), onnx.style(audio)

    assert torchs.sample_rate == onnx.sample_rate == 24000
    np.testing.assert_allclose(style.ttl, expected.ttl, atol=2e-4)
    np.testing.assert_allclose(style.dp, expected.dp, atol=2e-4)
    assert distance(style, onnx.style(audio[::-1])) > 1e-3, "it does not hear what it is given"


@pytest.mark.parametrize("device", [None, "cpu"])
def test_an_offset_of_the_audio_does_not_move_its_style(model_dir, voices, device):
    engine = open_engine(model_dir, device)

    expected, style = engine.style(voices[0]), engine.style(voices[0] + np.float32(0.05))

    np.testing.assert_allclose(style.ttl, expected.ttl, atol=2e-4)
    assert distance(style, expected) < 0.01 * distance(expected, engine.style(voices[1]))


@needs_real
def test_both_engines_give_one_style_of_a_real_recording(model_dir):
    audio = load_voice(REAL_CLIP, 24000)

    expected, style = (
        open_engine(model_dir, "cpu").style(audio),
        open_engine(model_dir).style(audio),
    )

    np.testing.assert_allclose(style.ttl, expected.ttl, atol=1e-4)
    np.testing.assert_allclose(style.dp, expected.dp, atol=1e-4)


def absent(monkeypatch, *packages):
    """Make packages as good as not installed."""
    for name in packages:
        monkeypatch.setitem(sys.modules, name, None)


def test_a_folder_without_a_model_is_refused_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(StorageError, match=r"none: no model here; make one with `tune-encoder exp"):
        open_engine(tmp_path / "none")


def test_without_onnxruntime_torch_is_taken(model_dir, monkeypatch):
    absent(monkeypatch, "onnxruntime")

    assert open_engine(model_dir).name == "torch on cpu"


def test_with_neither_package_the_one_to_install_is_named(model_dir, monkeypatch):
    absent(monkeypatch, "onnxruntime", "torch")

    with pytest.raises(
        StorageError, match=r"voice_encoder\.onnx: needs onnxruntime or torch; install one with"
    ):
        open_engine(model_dir)


def test_without_torch_a_device_is_refused(model_dir, monkeypatch):
    absent(monkeypatch, "torch")

    with pytest.raises(StorageError, match=r"--device cpu needs torch, which is not ins.*omit it"):
        open_engine(model_dir, "cpu")


def test_without_torch_a_model_without_onnx_is_refused_with_the_way_to_export_it(
    tmp_path, monkeypatch
):
    absent(monkeypatch, "torch")

    with pytest.raises(
        StorageError, match=r"has no voice_encoder\.onnx, and torch.*--formats torch,onnx"
    ):
        open_engine(tmp_path)


# --- where the styles go -------------------------------------------------------------------------


def test_several_recordings_go_into_a_folder_under_their_names(tmp_path):
    outputs = output_paths([Path("a/x.wav"), Path("b/y.flac")], tmp_path / "made" / "styles")

    folder = tmp_path / "made" / "styles"
    assert outputs == {Path("a/x.wav"): folder / "x.json", Path("b/y.flac"): folder / "y.json"}
    assert folder.is_dir()


def test_one_recording_may_go_into_a_named_file(tmp_path):
    assert output_paths([Path("x.wav")], tmp_path / "me.json") == {
        Path("x.wav"): tmp_path / "me.json"
    }


@pytest.mark.parametrize(
    ("recordings", "out", "message"),
    [
        (["a.wav", "b.wav"], "one.json", r"one\.json: is one file for 2 voices; name a folder"),
        (["a/x.wav", "b/x.mp3"], "o", r"a/x\.wav, b/x\.mp3: each would be .*o/x\.json; rename"),
    ],
)
def test_recordings_that_would_share_a_file_are_refused(tmp_path, recordings, out, message):
    with pytest.raises(ConfigError, match=message):
        output_paths([Path(name) for name in recordings], tmp_path / out)


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("taken")

    with pytest.raises(
        StorageError, match=r"file/styles: cannot be created \(Not a dir.*name anothe"
    ):
        output_paths([Path("x.wav")], tmp_path / "file" / "styles")
