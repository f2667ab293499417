"""Bad arguments of the functions of a notebook: each error is a line with Python's names."""

import warnings
from pathlib import Path
from typing import Any

import pytest

import tune_encoder
from tests.builders import new_experiment
from tests.fabricate import write_wav
from tune_encoder.errors import TuneEncoderError

api: Any = tune_encoder  # whose types know of no bad argument

REFUSED = [
    (lambda: api.search(trials=0), r"^search\(\), budget: trials is 0; it must be"),
    (lambda: api.search(trails=3), r"^search\(\): unknown option 'trails'; did you mean"),
    (lambda: api.search(root="a%b"), r"'%' in its path; choose another root$"),
    (lambda: api.search(name="mine"), r'`tune_encoder.resume\("mine"\)` or choose anot'),
    (lambda: api.resume("other"), "no such experiment; there are mine"),
    (
        lambda: api.fork("mine", "new", "quick", trials=0),
        r"^fork\(\), budget: trials is 0",
    ),
    (lambda: api.Run("nowhere"), r"no run here; name the checkpoint_dir of a `train`$"),
    (lambda: api.Client("127.0.0.1:1"), r"^address 127\.0\.0\.1:1: jobs are submitted"),
    (lambda: api.Client("http://127.0.0.1:1"), r"or give the address of one$"),
    (lambda: api.demo_data("new", voices=0), "voices and val_voices must be at least 1"),
    (lambda: api.demo_data("new", voices=2.5), r"voices is 2\.5; it must be a whole num"),
    (lambda: api.demo_data("new", clips_per_voice=0), "clips_per_voice is 0; it must be"),
    (lambda: api.demo_data("new", seed=-1), r"^demo_data\(\): seed is -1; it must be"),
    (lambda: api.demo_data("new", sed=1), r"^demo_data\(\): unknown option 'sed'; did"),
    (lambda: api.import_data("new"), "^give either audio, a folder of recordings, or man"),
    (lambda: api.import_data("new", "audio"), "^audio needs styles, the folder of the"),
    (
        lambda: api.import_data("new", manifest="m.csv", test="t"),
        "^test goes with audio; a manifest names test in its column split",
    ),
    (
        lambda: api.import_data("new", "audio", "styles", split="voice"),
        "^split is 'voice'; it must be one of voices, time$",
    ),
    (
        lambda: api.import_data("new", "audio", "styles", sample_rate=7),
        r"^import_data\(\): sample_rate is 7; it must be",
    ),
    (lambda: api.generate_data("new", workers=0), "^workers is 0; it must be at least 1"),
    (lambda: api.generate_data("new", workers=True), "^workers is True; it must be at least 1"),
    (lambda: api.generate_data("new", model="x"), "^model is 'x'; it must be one of sup"),
    (lambda: api.generate_data("new", draws=0), r"^generate_data\(\): draws is 0; it"),
    (lambda: api.check_data("nowhere").raise_errors(Path("nowhere")), "no such folder"),
    (lambda: api.pack_data("nowhere"), "no such folder; it must hold train/ and val/"),
    (lambda: api.pack_data("x", n_mel=3), r"^pack_data\(\): unknown setting 'n_mel'; did"),
    (lambda: api.repair_data("nowhere", "new"), "no such folder"),
    (lambda: api.train("x", epochs=0), r"^train\(\): epochs is 0; it must be"),
    (lambda: api.train("x", processes=0), "^processes is 0; it must be a whole number"),
    (lambda: api.train("x", epoch=3), r"^train\(\): unknown setting 'epoch'; did you"),
    (lambda: api.train("x", resume="no.pt"), "no.pt: "),
    (lambda: api.evaluate("runs/mine"), r"Experiment\(\"runs/mine\"\)\.export\(\)`$"),
    (lambda: api.evaluate("m", split="train"), "^split is 'train'; it must be one of val"),
    (lambda: api.evaluate_folds("m", 1), "^folds is 1; it must be a whole number from 2"),
    (lambda: api.verify("runs/mine"), r"an experiment, not a model; make one with `tune_"),
    (lambda: api.clone("m", [], "out"), "^recordings is empty; name at least one$"),
    (lambda: api.listen("m", []), "^recordings is empty; name at least one$"),
    (
        lambda: api.clone("m", "v.wav", "out", voice="a", by_folder=True),
        "^voice and by_folder cannot be combined; omit one$",
    ),
    (lambda: api.clone("m", "v.wav", "out", voice="a/b"), "^voice 'a/b': is no file name"),
    (
        lambda: api.clone("m", "v.wav", "out", by_folder=True),
        "with by_folder name folders",
    ),
    (lambda: api.listen("m", "v.wav", speeed=2), r"^listen\(\): unknown option 'speeed'"),
    (lambda: api.listen("m", "v.wav", voice="x"), "^voice is 'x'; it must be one of"),
    (lambda: api.plan("quik"), "^quik: neither a file nor a built-in space; built-in are"),
    (lambda: api.plan("quick", "nowhere"), "nowhere: no such folder"),
    (lambda: api.compare(["mine"]), "names has 1 experiments; name at least 2 to compare"),
    (lambda: api.portfolio("mine", size=-1), "^size is -1; give at least 1$"),
    (lambda: api.portfolio([]), "^names is empty; name at least one experiment$"),
    (lambda: api.portfolio("mine"), "name other experiments, or another space$"),
    (lambda: api.repair("mine", force=True).lost[99:] or mine().stop(), "is not running"),
    (lambda: mine().confirm(seeds=1), "^seeds is 1; it must be from 2 to 32, since"),
    (lambda: mine().retrain(epochs=0), r"^retrain\(\): epochs is 0; it must be"),
    (lambda: mine().retrain(epoch=3), r"^retrain\(\): unknown option 'epoch'; did you mean"),
    (lambda: mine().export(top_k=0), r"^export\(\): top_k is 0; it must be"),
    (lambda: mine().importance(), "mine"),
    (lambda: mine().trial(3), "no trial 3; there is none yet"),
    (lambda: mine().add({"nothing": 1}), r"^add\(\)"),
]


def mine():
    return tune_encoder.Experiment("runs/mine")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder with one experiment in which nothing has run, and a recording."""
    new_experiment(tmp_path / "runs")
    write_wav(tmp_path / "v.wav", [0.0] * 24000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[words[:24] for _, words in REFUSED])
@pytest.mark.usefixtures("place")
def test_a_bad_argument_is_refused_in_a_line_with_the_names_of_python(call, words):
    with pytest.raises(TuneEncoderError, match=words) as caught:
        call()

    line = str(caught.value)
    assert " --" not in f" {line}"
    assert "command line" not in line
    assert "\n" not in line


def test_demo_data_is_checked_and_packed(tmp_path):
    made = tune_encoder.demo_data(
        tmp_path / "voices", voices=6, val_voices=2, test_voices=0, clips_per_voice=1
    )
    report = tune_encoder.check_data(tmp_path / "voices")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        packed = tune_encoder.pack_data(tmp_path / "voices")

    assert made["clips"] == {"train": 6, "val": 2, "test": 0}
    assert report.errors == []
    assert packed.info["clips"]["train"] == 6


def test_a_recording_is_cloned_and_says_what_makes_it_doubtful(model_dir, data_dir, tmp_path):
    from tune_encoder.data.samples import read_sample

    sample = read_sample(min((data_dir / "test").glob("*.npz")))
    write_wav(tmp_path / "a.wav", sample.audio[:30_000])
    write_wav(tmp_path / "bad.wav", [0.0] * 10)

    with pytest.warns(UserWarning, match=r"a\.wav: 1\.\d s of sound; use at least 3 s"):
        [cloned] = tune_encoder.clone(model_dir, tmp_path / "a.wav", tmp_path / "a.json")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(TuneEncoderError, match=r"^1 of 2 recordings could not be cloned; the "):
            tune_encoder.clone(
                model_dir, [tmp_path / "a.wav", tmp_path / "bad.wav"], tmp_path / "two"
            )

    assert any("bad.wav: " in str(each.message) for each in caught)
    assert all(each.filename == __file__ for each in caught)  # not a file of the package
    assert cloned.out.is_file()
    assert (tmp_path / "two" / "a.json").is_file()
    assert cloned.style.ttl.shape == (50, 256)
    assert cloned.nearest
    assert cloned.distance is not None


def test_several_recordings_make_one_voice(model_dir, data_dir, tmp_path):
    from tune_encoder.data.samples import read_sample

    sample = read_sample(min((data_dir / "test").glob("*.npz")))
    for name, start in (("a", 0), ("b", 24_000)):
        write_wav(tmp_path / f"{name}.wav", sample.audio[start : start + 48_000])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        [cloned] = tune_encoder.clone(model_dir, tmp_path, tmp_path / "out", voice="anna")

    assert cloned.out == tmp_path / "out" / "anna.json"
    assert len(cloned.recordings) == 2


def test_a_model_is_scored_and_verified_as_on_the_command_line(model_dir, data_dir, tmp_path):
    result = tune_encoder.evaluate(model_dir, data_dir, out=tmp_path)

    assert {"model", "mean", "ridge"} <= set(result.scores)
    assert (tmp_path / "evaluation_test.json").is_file()


def test_a_plan_says_the_epochs_of_a_space_without_training():
    planned = tune_encoder.plan("quick", probe=False)

    assert planned["trials"] == 5
    assert planned["total_epochs"] == planned["full_epochs"] == 5 * planned["epochs"]
    assert "seconds" not in planned


def test_the_experiments_of_a_root_are_a_table(place):
    (place / "runs" / "broken").mkdir()
    (place / "runs" / "broken" / "search.yaml").write_text("[")

    frame = tune_encoder.experiments()

    assert list(frame["name"]) == ["broken", "mine"]
    assert list(frame["state"]) == ["unreadable", "stopped"]
    assert frame["problem"][0]
    assert frame["trials_ended"].isna().tolist() == [True, False]


@pytest.mark.slow
def test_a_config_is_trained_and_its_run_is_returned(data_dir, tmp_path):
    seen = []
    run = tune_encoder.train(
        data_dir,
        checkpoint_dir=str(tmp_path / "run"),
        epochs=2,
        hidden_dim=16,
        num_layers=1,
        on_epoch=lambda config, rows: seen.append(len(rows)),
    )

    assert run.path == tmp_path / "run"
    assert seen == [1, 2]
    assert list(run.curve()["epoch"]) == [1, 2]
    with pytest.raises(
        TuneEncoderError, match=r"resume it with resume=\".*pt\", or choose another checkpoint_dir$"
    ):
        tune_encoder.train(data_dir, checkpoint_dir=str(tmp_path / "run"), epochs=2)
