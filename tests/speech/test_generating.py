"""A generated data set: whole, the same however it was made, and of use."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from tests.processes import command_of
from tests.speech.conftest import small, sources
from tests.speech.stand_in import preset_styles, write_stand_in
from tune_encoder.config import TrainConfig, to_mapping
from tune_encoder.data.checking import check_data
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.samples import SPLITS, find_samples, read_sample
from tune_encoder.data.voice_style import write_voice_style
from tune_encoder.errors import ConfigError, DataError, StorageError
from tune_encoder.speech.generating import generate
from tune_encoder.system.lock import lock_experiment


def tree(folder):
    """The bytes of every file."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if not path.is_dir()
    }


def voices_of(folder):
    return {
        split: {read_sample(path).voice for path in find_samples(folder / split)}
        for split in SPLITS
    }


@pytest.fixture(scope="module")
def made(models, tmp_path_factory):
    """A set made by one process without interruption."""
    folder = tmp_path_factory.mktemp("made") / "set"
    generate(folder, sources(models), small(), 1)
    return folder


# --- what is made ---------------------------------------------------------------------------------


def test_a_set_passes_the_check_without_a_warning(made):
    assert not check_data(made, 24000).problems


def test_nothing_but_the_set_is_left(made):
    assert sorted(path.name for path in made.iterdir()) == ["dataset.json", "test", "train", "val"]
    assert [path.name for path in made.parent.iterdir()] == ["set"]


def test_voices_are_whole_in_one_split_and_each_split_has_some(made):
    voices = voices_of(made)

    assert [len(voices[split]) for split in SPLITS] == [11, 1, 1]
    assert len(set.union(*voices.values())) == 13


def test_what_is_held_out_makes_test_alone(models, tmp_path):
    generate(tmp_path / "set", sources(models, hold_out=["M1", "F3"]), small(), 1)

    voices = voices_of(tmp_path / "set")
    assert voices["test"] == {"M1", "F3"}
    assert len(voices["train"]) == 10
    assert len(voices["val"]) == 1


def test_own_styles_and_texts_are_used(models, tmp_path):
    (tmp_path / "own").mkdir()
    write_voice_style(tmp_path / "own" / "anna.json", preset_styles(names=("A1",))["A1"], {})
    (tmp_path / "texts.txt").write_text("Seven grey herons stood in the cold river.\n")
    where = sources(models, styles=tmp_path / "own", texts=tmp_path / "texts.txt")

    generate(tmp_path / "set", where, small(langs="en"), 1)

    samples = [read_sample(path) for path in (tmp_path / "set").glob("*/*.npz")]
    assert {each.text for each in samples} == {"Seven grey herons stood in the cold river."}
    assert "anna" in {each.voice for each in samples}


def test_the_record_has_the_request_the_counts_every_voice_and_every_clip(made, models):
    content = json.loads((made / "dataset.json").read_text())
    samples = [read_sample(path) for path in made.glob("*/*.npz")]

    assert content["request"].items() >= to_mapping(small()).items()
    assert {"supertonic", "onnxruntime", "tune-encoder", "texts"} < content["request"].keys()
    assert content["counts"]["clips"] == {"train": 11, "val": 1, "test": 1}
    assert content["counts"]["voices"] == len(content["voices"]) == 13
    assert content["voices"]["F1"] == "preset F1"
    assert {each["text"] for each in content["clips"]} == {each.text for each in samples}
    assert all((made / each["split"] / each["file"]).is_file() for each in content["clips"])
    assert {"lang", "steps", "speed", "seed", "origin", "refused"} < content["clips"][0].keys()


def test_refused_draws_are_counted_and_lost_clips_named(tmp_path):
    loud = write_stand_in(tmp_path / "loud", level=0.5)

    summary = generate(tmp_path / "set", sources(loud), small(draws=3), 1)

    assert summary.left_out
    assert sum(summary.clips.values()) == 13 - len(summary.left_out)
    assert summary.refused["clipped"] >= 3 * len(summary.left_out)


def test_models_that_only_fail_are_refused_soon(tmp_path):
    silent = write_stand_in(tmp_path / "silent", level=0.0)

    with pytest.raises(
        DataError, match=r"none of the first 20 clips can be used \(silent 20\); ch"
    ):
        generate(tmp_path / "set", sources(silent), small(draws=1, clips_per_voice=2), 1)


def test_models_that_can_spell_nothing_are_refused(tmp_path):
    mute = write_stand_in(tmp_path / "mute", unsupported="aeiou")
    where = sources(mute)

    with pytest.raises(DataError, match=r"mute: the model can spell none of the texts; is it dam"):
        generate(tmp_path / "set", where, small(langs="en,it"), 1)


def test_a_split_without_a_clip_is_refused(tmp_path):
    silent = write_stand_in(tmp_path / "silent", level=0.0)

    with pytest.raises(
        DataError, match=r"train has no clip, since the gate refused every draw \(s"
    ):
        generate(tmp_path / "set", sources(silent), small(draws=1), 1)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_encoder_learns_from_a_set_and_beats_the_mean_on_voices_left_out(models, tmp_path):
    settings = small(voices=60, clips_per_voice=2)
    generate(tmp_path / "set", sources(models), settings, 1)

    pack = open_pack(pack_data(tmp_path / "set", TrainConfig()))

    for split in ("val", "test"):
        scores = pack.info["baselines"][split]["statistics"]
        assert pack.info["voice_kinds"][split] == "new"
        assert scores["skill_ttl"] > 0.3
        assert scores["skill"] > 0.3


# --- the same however it was made -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_several_processes_make_the_same_bytes_as_one(made, models, tmp_path):
    generate(tmp_path / "set", sources(models), small(), 3)

    assert tree(tmp_path / "set") == tree(made)


def test_a_larger_set_has_the_clips_of_a_smaller_one(made, models, tmp_path):
    generate(tmp_path / "set", sources(models), small(clips_per_voice=2), 1)

    larger = {path.name: path.read_bytes() for path in (tmp_path / "set").glob("*/*.npz")}
    assert all(larger[path.name] == path.read_bytes() for path in made.glob("*/*.npz"))


def test_a_whole_set_is_left_as_it_is_by_the_same_command(made, models):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}

    assert generate(made, sources(models), small(), 1).voices == 13

    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seed": 5}, r"seed is 0 there and 5 here"),
        (
            {"speed": "1.0", "steps": "6"},
            r"steps is '5' there and '6' here; speed is '0.9:1.15' th",
        ),
    ],
)
def test_another_command_on_the_same_folder_is_refused_with_the_difference(
    changes, difference, made, models
):
    with pytest.raises(ConfigError, match=rf"set: begun by another command \({difference}.*repeat"):
        generate(made, sources(models), dataclasses.replace(small(), **changes), 1)


def test_another_model_on_the_same_folder_is_refused(made, tmp_path):
    other = write_stand_in(tmp_path / "other", seconds_per_character=0.08)

    with pytest.raises(
        ConfigError, match=r"model file onnx/duration_predictor\.onnx is \w+\.\.\. t"
    ):
        generate(made, sources(other), small(), 1)


def test_a_folder_of_something_else_is_refused(models, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"exists and is not empty; remove it or name another"):
        generate(tmp_path, sources(models), small(), 1)


def test_a_folder_in_use_is_refused(models, tmp_path):
    (tmp_path / "set.partial").mkdir()

    with (
        lock_experiment(tmp_path / "set.partial"),
        pytest.raises(
            StorageError, match=r"set\.partial: in use by pid \d+ on .*wait until it end"
        ),
    ):
        generate(tmp_path / "set", sources(models), small(), 1)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{}", "'request' is missing"),
        ('{"request": 3}', "its request is no mapping"),
        ("[" * 50_000, "nested too deeply"),
    ],
)
def test_a_record_of_something_else_is_refused(models, tmp_path, content, why):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset.json").write_text(content)

    with pytest.raises(
        StorageError,
        match=rf"dataset\.json: not of a set that this command made \(.*{why}.*\); name another f",
    ):
        generate(tmp_path / "set", sources(models), small(), 1)


def test_too_few_voices_for_the_splits_are_refused(models, tmp_path):
    with pytest.raises(ConfigError, match=r"voices is 2; it must be at least 3"):
        generate(tmp_path / "set", sources(models), small(voices=2), 1)


# --- interrupted ----------------------------------------------------------------------------------


def start(out, models, workers, *options):
    command = [sys.executable, "-m", "tune_encoder", "data", "generate", str(out)]
    settings = ["--voices", "13", "--clips-per-voice", "1", "--steps", "5"]
    command += ["--model-dir", str(models), "--workers", str(workers), *settings, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def n_clips(out):
    return len([*out.with_name(f"{out.name}.partial").glob("*/[!.]*.npz")])


def signal_after(process, out, clips, number):
    """Send a signal once so many clips are there; returns what the process said."""
    while n_clips(out) < clips:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(number)
    return process.communicate()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_set_killed_five_times_has_the_bytes_of_one_that_was_not(workers, made, models, tmp_path):
    out = tmp_path / "set"

    for clips in (1, 2, 3, 4, 5):  # early, or it is whole before the signal comes
        signal_after(start(out, models, workers), out, clips, signal.SIGKILL)
        assert not out.exists()
    final = start(out, models, workers)

    _, errors = final.communicate()
    assert final.returncode == 0, errors
    assert tree(out) == tree(made)
    assert not out.with_name("set.partial").exists()


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_says_how_to_continue_and_ends_all_workers(workers, models, tmp_path):
    out = tmp_path / "set"
    settings = small(voices=60)  # so many that it is not whole before the signal comes
    process = start(out, models, workers, "--voices", "60")

    _, errors = signal_after(process, out, 2, signal.SIGINT)

    assert process.returncode == 130
    line = errors.splitlines()[-1]
    assert line.startswith("tune-encoder: stopped after ")
    assert line.endswith(" clips; continue with the same command")
    before = n_clips(out)
    time.sleep(0.3)  # longer than a clip takes
    assert n_clips(out) == before
    generate(out, sources(models), settings, 1)
    generate(tmp_path / "whole", sources(models), settings, 1)
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_worker_that_dies_is_said_to(models, tmp_path):
    out = tmp_path / "set"
    process = start(out, models, 2, "--voices", "200")
    while n_clips(out) < 1:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    children = psutil.Process(process.pid).children()

    next(each for each in children if "spawn_main" in command_of(each)).kill()

    _, errors = process.communicate()
    assert process.returncode == StorageError.exit_code
    assert "a worker died (exit code -9); if memory was short, use fewer --workers" in errors


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_said_in_a_line_and_the_set_continues(
    workers, small_disk, made, models, tmp_path
):
    out = small_disk(n_files=9) / "set"

    with pytest.raises(StorageError) as met:
        generate(out, sources(models), small(), workers)

    assert "No space left on device" in str(met.value)
    assert str(met.value).endswith("(`df -i`); continue with the same command")
    subprocess.run(["mount", "-o", "remount,nr_inodes=100", str(out.parent)], check=True)
    generate(out, sources(models), small(), workers)
    assert tree(out) == tree(made)


def test_what_a_killed_process_left_half_written_is_not_in_the_set(made, models, tmp_path):
    (tmp_path / "set.partial" / "train").mkdir(parents=True)
    (tmp_path / "set.partial" / "train" / ".F1_0000.npz.99.partial").write_bytes(b"half")

    generate(tmp_path / "set", sources(models), small(), 1)

    assert tree(tmp_path / "set") == tree(made)


def test_noise_does_not_depend_on_what_was_drawn_before(made, models, tmp_path):
    np.random.seed(99)  # noqa: NPY002
    generate(tmp_path / "set", sources(models), small(), 1)

    assert tree(tmp_path / "set") == tree(made)
