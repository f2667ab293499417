"""Inputs that once got past the errors of this program, each with what is said of it now."""

import io
import json
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch

from tests.builders import MadeSearch
from tests.fabricate import bare_state, make_sample, write_wav
from tests.fuzz.models import PROVENANCE_CONTENT
from tests.fuzz.mutation import npz
from tests.fuzz.running import run_command
from tune_encoder.data.samples import read_sample, write_sample
from tune_encoder.errors import DataError, StorageError, TuneEncoderError
from tune_encoder.model.onnx.session import VOICE_ENCODER
from tune_encoder.system.manifest import MANIFEST, PROVENANCE, save_with_hash, sha256_of
from tune_encoder.training.checkpoints import load_state

DEEP = "[" * 50_000


def refusal(*arguments):
    """The line with which a command ends."""
    with pytest.raises(TuneEncoderError) as refused:
        run_command(*arguments)
    return str(refused.value)


# --- model folders, whose hashes fit -------------------------------------------------------------


@pytest.fixture
def model(model_dir, tmp_path):
    return shutil.copytree(model_dir, tmp_path / "model")


def clone(model, voices, *options):
    recording = write_wav(model.parent / "voice.wav", voices[0])
    return refusal("clone", model, recording, "-o", model.parent / "out.json", *options)


def test_a_manifest_that_is_nested_deeply_lists_nothing(model, voices):
    (model / MANIFEST).write_text(DEEP)

    assert f"not listed in {MANIFEST} beside it" in clone(model, voices)


@pytest.mark.parametrize(
    "content",
    [
        npz({"names": np.array("A"), "ttl": np.zeros((1, 50, 256)), "dp": np.zeros((1, 8, 16))}),
        npz({"names": np.array(["A"]), "ttl": np.array("x"), "dp": np.zeros(1)}),
        npz({"names": np.array(["A"]), "ttl": np.zeros(2, [("a", "f4")]), "dp": np.zeros(1)}),
        b"",
    ],
    ids=["one name", "no numbers", "records", "empty"],
)
def test_voices_of_another_shape_are_refused_by_name(model, voices, content):
    save_with_hash(model / "voices.npz", content, epoch=1)

    said = clone(model, voices)
    assert "voices.npz: not a valid voice bank (" in said
    assert said.endswith("; remove it")


def change_input(graph):
    shape = onnx.helper.make_tensor_value_info("audio", onnx.TensorProto.FLOAT, (2, 3))
    graph.input[0].CopyFrom(shape)


def change_rate(model, value):
    (rate,) = (each for each in model.metadata_props if each.key == "sample_rate")
    rate.value = value


@pytest.mark.parametrize(
    "change",
    [
        lambda model: change_input(model.graph),
        lambda model: model.graph.output.pop(),
        lambda model: change_rate(model, ""),
        lambda model: change_rate(model, "fast"),
    ],
    ids=["input of another shape", "output missing", "no sample rate", "sample rate is a word"],
)
def test_a_graph_that_is_not_an_encoder_is_refused_by_name(model, voices, change):
    changed = onnx.load(model / VOICE_ENCODER)
    change(changed)
    save_with_hash(model / VOICE_ENCODER, changed.SerializeToString(), epoch=1)

    assert "voice_encoder.onnx: onnxruntime cannot load it (" in clone(model, voices)


def test_weights_that_give_no_finite_style_make_no_file(model, voices):
    path = model / "model.safetensors"
    weights = safetensors.torch.load(path.read_bytes())
    weights["mel_mean"][:] = torch.nan
    save_with_hash(path, safetensors.torch.save(weights), epoch=1)

    assert "the model gives no finite style" in clone(model, voices, "--device", "cpu")
    assert not (model.parent / "out.json").exists()


def test_an_encoder_that_answers_with_zeros_makes_no_file(model, voices):
    changed = onnx.load(model / VOICE_ENCODER)
    last = changed.graph.output[0].name
    for node in changed.graph.node:
        node.output[:] = [f"{name}_before" if name == last else name for name in node.output]
    shape = onnx.helper.make_node("Sub", [f"{last}_before", f"{last}_before"], [last])
    changed.graph.node.append(shape)
    save_with_hash(model / VOICE_ENCODER, changed.SerializeToString(), epoch=1)

    assert "the model gives no finite style" in clone(model, voices)


def test_weights_of_odd_shapes_are_refused(model, voices):
    weights = {"mel_mean": torch.tensor(1.0)}
    save_with_hash(model / "model.safetensors", safetensors.torch.save(weights), epoch=1)

    assert "not a usable model (" in clone(model, voices, "--device", "cpu")


# --- verify --------------------------------------------------------------------------------------


@pytest.fixture
def verified(tmp_path):
    """A folder with a provenance that lists one file, as far as `verify` reads it without data."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.txt").write_text("a\n")
    write_files(folder, {"a.txt": {"sha256": [sha256_of(b"a\n")]}})
    return folder


def write_files(folder, files, **changes):
    content = {**PROVENANCE_CONTENT, "files": files, **changes}
    (folder / PROVENANCE).write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["/etc/passwd", "../other", "a/../../other", "", "..", "a\0"])
def test_a_name_that_leaves_the_folder_is_refused_and_nothing_of_it_is_told(verified, name):
    (verified.parent / "other").write_text("secret")
    write_files(verified, {name: {"sha256": ["0" * 64]}})

    said = refusal("verify", verified)

    assert said.endswith(
        "provenance.json: damaged (it lists no files of the folder with their SHA-256); export "
        "the model again"
    )


def test_a_link_out_of_the_folder_is_named_and_its_hash_is_not_told(verified, capsys):
    (verified.parent / "other").write_text("secret")
    (verified / "a.txt").unlink()
    (verified / "a.txt").symlink_to("../other")

    with pytest.raises(TuneEncoderError, match="1 of 1 files and scores do not match"):
        run_command("verify", verified)
    out = verify_output(verified, capsys)

    other = verified.parent / "other"
    assert out[0] == f"{verified / 'a.txt'}: changed, it is a link to {other}"
    assert f"a.txt is a link out of the folder, to {other}" in out


def verify_output(folder, capsys):
    from tune_encoder.cli import main

    with pytest.raises(SystemExit):
        main(["verify", str(folder)])
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    "text", [DEEP, "[]", '{"format": []}', '{"format": 1e999}'], ids=["deep", "list", "odd", "inf"]
)
def test_a_provenance_of_another_kind_is_refused(verified, text):
    (verified / PROVENANCE).write_text(text)

    assert "provenance.json: damaged (" in refusal("verify", verified)


def test_a_provenance_with_odd_splits_is_refused(verified):
    write_files(verified, {"a.txt": {"sha256": ["0"]}}, trained_on=[["train"]])

    assert "provenance.json: damaged (" in refusal("verify", verified)


# --- samples -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"sample_rate", b"voice"])
def test_a_sample_whose_directory_has_a_damaged_name_is_not_read_without_that_array(tmp_path, name):
    path = tmp_path / "a.npz"
    write_sample(path, make_sample(voice="Ann"))
    before, directory = path.read_bytes().rsplit(name, 1)
    path.write_bytes(before + name[:-1] + b"x" + directory)

    with pytest.raises(DataError, match=r"a\.npz: not a readable npz file \(BadZipFile"):
        read_sample(path)


def test_a_sample_whose_directory_swallows_an_entry_is_not_read_without_that_array(tmp_path):
    path = tmp_path / "a.npz"
    write_sample(path, make_sample(voice="Ann"))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\1\2", 0, content.rindex(b"PK\1\2"))  # the last but one
    content[entry + 33] = 2  # its comment has 512 bytes: the next entry
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"a\.npz: lists 6 of 7 arrays; make it again"):
        read_sample(path)


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "x"}, "invalid literal"),
        ({"format": None}, "int"),
        ({"epoch": "1"}, "epoch is no int"),
        ({"config": []}, "config is no dict"),
        ({"history": [{"epoch": 1}]}, "an epoch has no val_loss"),
        ({"history": [[]]}, r"an epoch is \[\]"),
    ],
)
def test_a_checkpoint_with_odd_content_is_refused_though_its_hash_fits(tmp_path, change, reason):
    content = io.BytesIO()
    torch.save({"format": 1, **bare_state(1), **change}, content)
    save_with_hash(tmp_path / "a.pt", content.getvalue(), epoch=1)

    with pytest.raises(StorageError, match=rf"a\.pt: not a checkpoint.*\({reason}.*give a \.pt"):
        load_state(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02\xff.", b"x" * 100], ids=repr)
def test_what_is_no_checkpoint_is_refused_though_its_hash_fits(tmp_path, content):
    save_with_hash(tmp_path / "a.pt", content, epoch=1)

    with pytest.raises(StorageError, match=r"a\.pt: not a checkpoint"):
        load_state(tmp_path / "a.pt")


# --- study.db ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_searches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searches")
    for name in ("bad", "good"):
        made = MadeSearch(folder, name=name)
        made.trial([0.9, 0.5], "COMPLETE")
        made.record._study._file.close()
    return folder


@pytest.fixture
def searches(whole_searches, tmp_path):
    return shutil.copytree(whole_searches, tmp_path / "runs")


EPOCH = "UPDATE trial_user_attributes SET value_json = {} WHERE key = 'epoch_000002'"
SETTINGS = "UPDATE trial_user_attributes SET value_json = {} WHERE key = 'settings'"


@pytest.mark.parametrize(
    "change",
    [
        EPOCH.format("'[]'"),
        EPOCH.format("'{}'"),
        EPOCH.format("'null'"),
        EPOCH.format("x'ff'"),
        EPOCH.format("json_set(value_json, '$.val_loss', 'low', '$.objective', 'low')"),
        EPOCH.format("json_remove(value_json, '$.val_skill')"),
        EPOCH.format("json_remove(value_json, '$.order')"),
        EPOCH.format(f"'{DEEP}'"),
        SETTINGS.format("'[1]'"),
        SETTINGS.format("""'{"dropout": [0.1]}'"""),
        "UPDATE trial_user_attributes SET key = NULL WHERE key = 'settings'",
        "UPDATE trials SET number = 'one'",
        "UPDATE trials SET datetime_complete = 17",
        "UPDATE trials SET state = x'00'",
    ],
)
def test_a_record_with_odd_values_is_one_line_of_list_and_the_others_are_shown(searches, change):
    with closing(sqlite3.connect(searches / "bad" / "study.db")) as database, database:
        database.execute(change)

    lines = run_command("list", "--root", searches).splitlines()

    assert lines[1].split() == ["bad", "unreadable"]
    assert lines[2].startswith("good  stopped")
    assert lines[4].startswith(f"{searches / 'bad' / 'study.db'}: cannot be read (")
    assert lines[4].endswith(f"rebuild it with `tune-encoder repair bad --root {searches}`")
    assert len(lines) == 5
    assert refusal("status", "bad", "--root", searches).endswith(lines[4])


def test_an_epoch_without_a_skill_is_refused_where_it_is_shown_whole(searches):
    with closing(sqlite3.connect(searches / "bad" / "study.db")) as database, database:
        database.execute(EPOCH.format("json_remove(value_json, '$.val_skill')"))

    said = refusal("show", "bad", 0, "--root", searches)
    assert "study.db: cannot be read (an epoch has no val_skill)" in said


def test_a_state_that_only_optuna_reads_is_refused_by_what_uses_optuna(searches):
    with closing(sqlite3.connect(searches / "bad" / "study.db")) as database, database:
        database.execute("UPDATE trials SET state = 'ASLEEP'")

    said = refusal("importance", "bad", "--root", searches)
    assert "study.db: cannot be read (" in said


# --- search.yaml and configs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("data_dir", ["/voices"], "a text"),
        ("data_dir", "/voi\0ces", "a text"),
        ("record", 3, "a text"),
        ("defaults", ["dropout"], "a mapping"),
        ("defaults", "dropout", "a mapping"),
        ("baselines", 0.5, "a mapping"),
        ("warm_start", {"a": 1}, "a list"),
        ("folds", "five", "a whole number"),
    ],
)
def test_what_a_search_has_of_another_kind_is_refused_by_name(tmp_path, name, value, kind):
    experiment = MadeSearch(tmp_path).experiment
    experiment.write_search({**experiment.read_search(), name: value})

    with pytest.raises(StorageError) as refused:
        experiment.read_search()

    said = f"search.yaml: {name} is {value!r}, not {kind}; restore the file"
    assert str(refused.value).endswith(said)


@pytest.mark.parametrize("name", ["a\\0b", "a\\ud800b"], ids=["null", "half a character"])
def test_a_path_that_no_file_can_have_is_refused_by_name(tmp_path, name):
    path = tmp_path / "config.yaml"
    path.write_text(f'data_dir: "{name}"\n')

    said = refusal("train", "--config", path)
    assert f"{path}: data_dir is 'a\\" in said
    assert said.endswith("; it must be a text")
