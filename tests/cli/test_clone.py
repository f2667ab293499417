"""`tune-encoder clone`, as a person runs it."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soxr

from tests.fabricate import SMALL_ENCODER, make_style, write_model, write_wav
from tune_encoder.cli import main
from tune_encoder.data.baselines import closed_form
from tune_encoder.data.mel import MelSettings
from tune_encoder.data.novelty import known_sound, write_known_sound
from tune_encoder.data.voice_bank import read_bank
from tune_encoder.data.voice_style import read_voice_style, write_voice_style
from tune_encoder.model.clone.words import SEVERAL_SPEAKERS, describe_spread
from tune_encoder.model.closed_form import ClosedFormRegression
from tune_encoder.model.encoder import ClosedFormEncoder
from tune_encoder.model.onnx.writing import write_onnx
from tune_encoder.system.manifest import save_with_hash


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["clone", *(str(argument) for argument in arguments)])
    return ended.value.code


@pytest.fixture
def recordings(voices, tmp_path):
    """Two good recordings and three bad ones between them."""
    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / name for name in ("a.wav", "b.m4a", "c.wav", "d.wav", "none.wav")]
    write_wav(paths[0], np.tile(voices[0], 3)[:96000])
    paths[1].write_bytes(b"\0\0\0\x20ftypM4A " + bytes(500))
    write_wav(paths[2], voices[0][:2400])
    write_wav(paths[3], np.tile(voices[1], 3)[:96000])
    return paths


def test_each_recording_is_told_in_four_lines(model_dir, recordings, tmp_path, capsys):
    assert run(model_dir, recordings[0], recordings[3], "-o", tmp_path / "out") == 0

    told = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in told[::4]] == [["1/2", "a.wav:"], ["2/2", "d.wav:"]]
    assert all(
        re.search(r": 4\.0 s, -\d\d dBFS, no clipping, \d+% silent, up to \d+\.\d kHz$", line)
        for line in told[::4]
    )
    bank = read_bank(model_dir)
    assert bank is not None
    for line in told[1::4]:
        found = re.fullmatch(r"  nearest voice (.+), distance (\d\.\d\d) \(1: as betw.*\)", line)
        assert found
        assert found[1] in bank.names
    for line in told[2::4]:
        assert re.fullmatch(r"  its parts are \d\.\d\d apart \(the less, the surer\).*", line)
    assert told[3] == f"  wrote {tmp_path / 'out' / 'a.json'}"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "d.json"]
    assert all(len(line) <= 80 for line in told if "wrote" not in line)


def test_bad_recordings_are_told_once_each_and_the_others_are_written(
    model_dir, recordings, tmp_path, capsys
):
    assert run(model_dir, *recordings, "-o", tmp_path / "out") == 3

    told = capsys.readouterr()
    errors = told.err.splitlines()
    folder = tmp_path / "in"
    assert errors[0].startswith(f"tune-encoder: {folder}/b.m4a: not readable as audio (")
    assert errors[0].endswith(f"convert it: ffmpeg -i {folder}/b.m4a {folder}/b.wav")
    assert re.match(rf"tune-encoder: {folder}/c\.wav: 0\.10 s of sound; at least 1 s is", errors[1])
    assert errors[2].startswith(f"tune-encoder: {folder}/none.wav: no such file; give the path")
    assert errors[3] == (
        "tune-encoder: 3 of 5 recordings could not be cloned; the styles of the others were written"
    )
    assert len(errors) == 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "d.json"]
    assert "4/5 d.wav: " in told.out


def test_one_bad_recording_is_told_in_one_line(model_dir, recordings, tmp_path, capsys):
    assert run(model_dir, recordings[1], "-o", tmp_path / "me.json") == 3

    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "me.json").exists()


def test_a_model_without_its_voices_says_nothing_of_the_nearest(
    model_dir, recordings, tmp_path, capsys
):
    bare = shutil.copytree(model_dir, tmp_path / "bare")
    (bare / "voices.npz").unlink()

    assert run(bare, recordings[0], "-o", tmp_path / "me.json") == 0

    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2
    assert told[0].startswith("a.wav: 4.0 s")
    assert read_voice_style(tmp_path / "me.json").ttl.shape == (50, 256)


def presets_of(model_dir, recordings, folder):
    """A preset that is the very style of the first recording, and one that is not."""
    folder.mkdir()
    run(model_dir, recordings[0], "-o", folder / "F1.json")
    run(model_dir, recordings[3], "-o", folder / "M1.json")
    return folder


def test_the_nearest_of_given_presets_is_named(model_dir, recordings, tmp_path, capsys):
    presets = presets_of(model_dir, recordings, tmp_path / "presets")
    capsys.readouterr()

    assert run(model_dir, recordings[0], "-o", tmp_path / "me", "--presets", presets) == 0

    assert "  nearest voice F1, distance 0.00 (1: as between two voices)" in capsys.readouterr().out


def test_of_a_single_preset_no_distance_is_told(model_dir, recordings, tmp_path, capsys):
    presets = presets_of(model_dir, recordings, tmp_path / "presets")
    (presets / "M1.json").unlink()
    capsys.readouterr()

    assert run(model_dir, recordings[3], "-o", tmp_path / "me", "--presets", presets) == 0

    told = capsys.readouterr().out
    assert "  nearest voice F1, the only known\n" in told
    assert "inf" not in told


@pytest.mark.parametrize("place", ["presets", "out"])
def test_a_style_of_another_version_is_told_once_and_nothing_is_written(
    model_dir, recordings, tmp_path, capsys, place
):
    (tmp_path / place).mkdir()
    write_voice_style(tmp_path / place / "F1.json", make_style(1, version=1), {})
    options = ["--presets", tmp_path / "presets"] if place == "presets" else []

    code = run(model_dir, recordings[0], recordings[3], "-o", tmp_path / "out", *options)

    assert code == 3
    assert re.fullmatch(
        rf"tune-encoder: {tmp_path}/{place}/F1\.json and {recordings[0]} are of different "
        r"Supertonic versions \(cosine -?0\.0\d; within .*\); use styles of one version only\n",
        capsys.readouterr().err,
    )
    assert not (tmp_path / "out" / "a.json").exists()


def test_other_json_in_the_folder_is_no_concern(model_dir, recordings, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.json").write_text("[1]")

    assert run(model_dir, recordings[0], "-o", tmp_path / "out") == 0


WITHOUT = """
import json, sys
for name in json.loads(sys.argv[1]):
    sys.modules[name] = None
from tune_encoder.cli import main
try:
    main(sys.argv[2:])
except SystemExit as ended:
    print("\\n" + json.dumps([ended.code, sorted({name.split(".")[0] for name in sys.modules})]))
"""
NOT_NEEDED = ["torch", "ray", "optuna", "pandas", "tensorboard", "safetensors", "matplotlib"]
NOT_NEEDED += ["tqdm", "onnx", "onnxscript", "scipy"]


@pytest.fixture(scope="module")
def closed_form_model(packed, tmp_path_factory):
    """A model of the closed form, as export writes it."""
    config = replace(SMALL_ENCODER, encoder_type="statistics")
    encoder = ClosedFormEncoder(ClosedFormRegression(closed_form(packed)), packed.statistics).eval()
    folder = write_model(tmp_path_factory.mktemp("closed"), config, encoder.state_dict())
    write_onnx(folder, encoder, config, epoch=1, int8=False)
    return folder


@pytest.mark.parametrize("kind", ["model_dir", "closed_form_model"])
def test_without_torch_and_all_else_a_recording_is_cloned_to_the_same_style(
    request, kind, recordings, tmp_path
):
    model_dir = request.getfixturevalue(kind)
    command = [sys.executable, "-c", WITHOUT, json.dumps(NOT_NEEDED)]
    arguments = ["clone", model_dir, recordings[0], "-o", tmp_path / "bare.json"]

    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=True
    )

    code, _ = json.loads(done.stdout.splitlines()[-1])
    assert (code, done.stderr) == (0, "")
    assert run(model_dir, recordings[0], "-o", tmp_path / "torch.json", "--device", "cpu") == 0
    bare, torchs = (read_voice_style(tmp_path / f"{name}.json") for name in ("bare", "torch"))
    np.testing.assert_allclose(bare.ttl, torchs.ttl, atol=1e-4)
    np.testing.assert_allclose(bare.dp, torchs.dp, atol=1e-4)


# --- what is unlike all that a model knows -------------------------------------------------------


@pytest.fixture(scope="module")
def knowing_model(model_dir, packed, tmp_path_factory):
    """The model as export writes it: it knows what its training recordings sound like."""
    folder = shutil.copytree(model_dir, tmp_path_factory.mktemp("knowing") / "model")
    sound = known_sound(
        packed.train.clip, packed.train.style_ids, MelSettings(24000, 1024, 256, 80)
    )
    assert sound is not None
    write_known_sound(folder, sound, epoch=1)
    return folder


def sine():
    return 0.3 * np.sin(2 * np.pi * 200 * np.arange(5 * 24000) / 24000)


def noise():
    return 0.1 * np.random.default_rng(0).normal(size=5 * 24000)


@pytest.mark.parametrize("device", [[], ["--device", "cpu"]], ids=["onnx", "torch"])
@pytest.mark.parametrize("make", [sine, noise])
def test_what_is_no_voice_is_said_to_be_unlike_all(knowing_model, tmp_path, capsys, device, make):
    path = write_wav(tmp_path / "odd.wav", make())

    assert run(knowing_model, path, "-o", tmp_path / "odd.json", *device) == 0

    assert re.search(
        rf"^warning: {path}: is unlike all that the model was trained on, \d\.\d times as far",
        capsys.readouterr().out, re.MULTILINE,
    )  # fmt: skip


def test_a_voice_is_not_unlike_the_voices_of_training(knowing_model, recordings, tmp_path, capsys):
    assert run(knowing_model, recordings[0], recordings[3], "-o", tmp_path / "out") == 0

    assert "is unlike all" not in capsys.readouterr().out


def test_a_damaged_measure_is_refused_by_name(knowing_model, recordings, tmp_path, capsys):
    damaged = shutil.copytree(knowing_model, tmp_path / "damaged")
    save_with_hash(damaged / "novelty.npz", b"junk", epoch=1)

    assert run(damaged, recordings[0], "-o", tmp_path / "me.json") == 4

    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"tune-encoder: {damaged}/novelty.npz: not readable (")


def save_clipped(path, voice):
    write_wav(path, np.clip(8 * voice / np.abs(voice).max(), -1, 1))


def save_inverted(path, voice):
    write_wav(path, np.stack([voice, -0.99 * voice], axis=1))


def save_narrow(path, voice):
    write_wav(path, soxr.resample(voice, 24000, 8000), 8000)


FAULTS = {
    "clipped": (save_clipped, "clipped, "),
    "inverted": (save_inverted, "of channels that cancel, as if one were inverted; "),
    "narrow": (save_narrow, "as narrow as a telephone's, up to "),
}


@pytest.mark.parametrize(("save", "words"), FAULTS.values(), ids=FAULTS)
def test_a_recording_with_a_fault_is_cloned_with_a_warning(
    model_dir, voices, tmp_path, capsys, save, words
):
    save(tmp_path / "me.wav", np.tile(voices[0], 3)[:96000])

    assert run(model_dir, tmp_path / "me.wav", "-o", tmp_path / "me.json") == 0

    told = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"warning: {tmp_path}/me.wav: is {words}") for line in told)
    assert (tmp_path / "me.json").is_file()


def test_two_speakers_in_turn_are_further_apart_than_one(model_dir, voices, tmp_path, capsys):
    one = write_wav(tmp_path / "one.wav", np.tile(voices[0][:48000], 4))
    two = write_wav(
        tmp_path / "two.wav", np.concatenate([voices[0][:48000], voices[1][:48000]] * 2)
    )

    run(model_dir, one, two, "-o", tmp_path / "out")

    told = capsys.readouterr().out
    first, second = (float(x) for x in re.findall(r"its parts are (\d+\.\d\d) apart", told))
    assert first < 0.1 < second
    asked = [line.endswith("; is it one speaker?") for line in told.splitlines() if "apart" in line]
    assert asked == [False, second > SEVERAL_SPEAKERS]


@pytest.mark.parametrize("spread", [SEVERAL_SPEAKERS, SEVERAL_SPEAKERS + 0.01])
def test_far_apart_parts_are_asked_about(spread):
    said = describe_spread(spread)

    assert said.endswith(" apart (the less, the surer)") == (spread == SEVERAL_SPEAKERS)
    assert said.endswith("; is it one speaker?") == (spread > SEVERAL_SPEAKERS)


def test_a_folder_is_not_a_recording(model_dir, recordings, tmp_path, capsys):
    assert run(model_dir, recordings[0].parent, "-o", tmp_path / "out") == 3

    assert capsys.readouterr().err == (
        f"tune-encoder: {tmp_path}/in: is a folder; name the files in it, as with {tmp_path}/in/*\n"
    )


# --- several recordings of a speaker -------------------------------------------------------------


@pytest.fixture
def corpus(voices, tmp_path):
    """A folder with a folder for each of two speakers; the first has a clip of the second."""
    for name, own, other in (("anna", *voices), ("ben", *reversed(voices))):
        folder = tmp_path / "corpus" / name
        folder.mkdir(parents=True)
        for number, start in enumerate((0, 30000, 60000)):
            write_wav(folder / f"{number}.wav", np.tile(own, 4)[start : start + 72000])
        if name == "anna":
            write_wav(folder / "odd.wav", np.tile(other, 4)[:72000])
    return tmp_path / "corpus"


@pytest.fixture
def presets(model_dir, corpus, tmp_path):
    folder = tmp_path / "presets"
    for name in ("anna", "ben"):
        run(model_dir, corpus / name / "0.wav", "-o", folder / name)
        (folder / name / "0.json").rename(folder / f"{name}.json")
    return folder


def test_a_voice_of_several_recordings_is_told_in_five_lines(
    model_dir, corpus, presets, tmp_path, capsys
):
    capsys.readouterr()

    code = run(
        model_dir, corpus / "anna", "--voice", "Anna", "-o", tmp_path / "out", "--presets", presets
    )

    told = capsys.readouterr().out.splitlines()
    assert code == 0
    assert told[0] == "Anna: 3 of 4 recordings, 9.0 s of sound"
    assert re.fullmatch(
        r"  left out odd\.wav: \d\.\d\d from the others \(1: as between two voices\)", told[1]
    )
    found = re.fullmatch(
        r"  its recordings are (\d\.\d\d) apart, which makes the style sure to (\d\.\d\d)", told[2]
    )
    assert found
    assert float(found[2]) == pytest.approx(float(found[1]) / 6**0.5, abs=0.01)
    assert told[3].startswith("  nearest voice anna, distance 0.")
    assert told[4:] == [f"  wrote {tmp_path / 'out' / 'Anna.json'}"]
    assert max(map(len, told[:4])) <= 80


def test_a_short_recording_is_warned_of_only_where_it_is_alone(
    model_dir, corpus, voices, tmp_path, capsys
):
    short = write_wav(tmp_path / "short.wav", np.tile(voices[1], 2)[:48000])

    run(model_dir, short, "--voice", "ben", "-o", tmp_path / "out")
    run(model_dir, short, corpus / "ben", "--voice", "ben", "-o", tmp_path / "out")

    assert capsys.readouterr().out.count("use at least 3 s") == 1


def test_each_folder_of_a_corpus_makes_a_style(model_dir, corpus, tmp_path, capsys):
    assert run(model_dir, corpus, "--by-folder", "-o", tmp_path / "out") == 0

    told = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in told if not line.startswith(" ")] == ["anna", "ben"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["anna.json", "ben.json"]


def test_a_speaker_without_a_good_recording_is_told_and_the_others_are_written(
    model_dir, corpus, tmp_path, capsys
):
    (corpus / "carl").mkdir()
    write_wav(corpus / "carl" / "0.wav", np.zeros(48000))

    assert run(model_dir, corpus, "--by-folder", "-o", tmp_path / "out") == 3

    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("tune-encoder: carl: its only recording cannot be used (")
    assert last == (
        "tune-encoder: 1 of 8 recordings could not be used; styles were made of the others"
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["anna.json", "ben.json"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--voice", "a/b", "x.wav"], 2, "--voice 'a/b': is no file name; use up to 100 letters"),
        (["--voice", "", "x.wav"], 2, "--voice '': is no file name; use up to 100 letters"),
        (["--voice", "anna"], 2, "the following arguments are required: recording"),
        (["--voice", "anna", "empty"], 3, "empty: has no recording; put .wav, "),
        (["--voice", "anna", "x.wav"], 3, "anna: its only recording cannot be used (x.wav: no su"),
        (["--by-folder", "x.wav"], 2, "x.wav: is no folder; with --by-folder name folders of rec"),
        (["--by-folder", "--voice", "a", "x.wav"], 2, "not allowed with argument"),
    ],
)
def test_what_is_no_speaker_is_refused_in_one_line(
    model_dir, tmp_path, monkeypatch, capsys, arguments, code, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()

    assert run(model_dir, *arguments, "-o", tmp_path / "out") == code

    error = capsys.readouterr().err
    assert words in error.splitlines()[-1]
    assert error.count("\n") == 1 or error.startswith("usage: ")
    assert not list(tmp_path.glob("out/*.json"))


def test_without_torch_a_speaker_is_cloned_too(model_dir, corpus, tmp_path):
    command = [sys.executable, "-c", WITHOUT, json.dumps(NOT_NEEDED)]
    arguments = ["clone", model_dir, corpus / "ben", "--voice", "ben", "-o", tmp_path / "out"]

    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=True
    )

    code, _ = json.loads(done.stdout.splitlines()[-1])
    assert (code, done.stderr) == (0, "")
    assert (tmp_path / "out" / "ben.json").is_file()
