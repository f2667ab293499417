"""verify, on copies of one exported model."""

import json
import shutil

import pytest

from tune_encoder.cli import main
from tune_encoder.errors import StorageError
from tune_encoder.export.provenance import read_provenance, write_provenance
from tune_encoder.export.verifying import verify
from tune_encoder.model.folder import load_model
from tune_encoder.system.manifest import sha256_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # the first trains and exports


@pytest.fixture
def model(exported, tmp_path):
    """A copy to change."""
    shutil.copytree(exported[0], tmp_path / "model")
    return tmp_path / "model"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["verify", *map(str, arguments)])
    return ended.value.code, capsys.readouterr()


def test_provenance_has_the_hash_of_every_other_file(exported, best_epoch):
    folder, _ = exported
    content = json.loads((folder / "provenance.json").read_text())

    others = [path for path in folder.iterdir() if path.name != "provenance.json"]
    assert content["files"] == {
        path.name: {"sha256": [sha256_of(path.read_bytes())]} for path in sorted(others)
    }
    member = {"trained_in": "made", "trial": 1, "epoch": best_epoch, "seed": 0}
    assert content["members"] == [member]
    assert content["search_seed"] == 0
    assert content["data"]["known_styles"] == {"val": 0, "test": 0}
    assert set(content["versions"]) == {"search", "export"}


def test_what_was_exported_verifies_with_its_scores(model, capsys):
    code, said = run(capsys, model)

    assert code == 0, said
    assert said.out == f"{model}: unchanged since the export (7 files, 64 scores)\n"


def test_each_mismatch_is_a_line_and_the_command_fails(model, capsys):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    (model / "model.pt").unlink()

    code, said = run(capsys, model)

    assert code == 4
    lines = said.out.splitlines()
    assert len(lines) == 3
    assert f"{model / 'model.pt'}: missing" in lines
    assert any(line.startswith(f"{weights}: changed, its SHA-256 is ") for line in lines)
    assert "scores not checked: model.safetensors was changed after the export" in lines
    assert said.err == (
        f"tune-encoder: {model}: 2 of 7 files and scores do not match; export it again\n"
    )


def test_scores_that_do_not_come_out_again_are_mismatches(model):
    path = model / "metrics.json"
    metrics = json.loads(path.read_text())
    before = metrics["scores"]["test"]["model"]["skill"]
    metrics["scores"]["test"]["model"]["skill"] = 0.9
    path.write_text(json.dumps(metrics))
    write_provenance(model, read_provenance(model))

    found = verify(model)

    assert found.mismatches == [f"test, model: skill is {before:.5f}, was 0.90000"]


def test_of_an_older_export_only_the_scores_are_compared_that_mean_the_same_today(model):
    path = model / "metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["voices"]
    for scores in metrics["scores"].values():
        for name in ("ridge", "model"):
            scores[name]["skill"] = scores[name]["retrieval"] = 0.9
            del scores[name]["retrieval_chance"]
    path.write_text(json.dumps(metrics))
    write_provenance(model, read_provenance(model))

    same = verify(model)
    metrics["scores"]["val"]["model"]["skill_dp"] += 0.01
    path.write_text(json.dumps(metrics))
    write_provenance(model, read_provenance(model))

    assert (same.mismatches, same.scores) == ([], 8)
    assert [line.partition(" is ")[0] for line in verify(model).mismatches] == [
        "val, model: skill_dp"
    ]


def test_scores_of_a_file_that_was_changed_are_not_compared(model):
    (model / "metrics.json").write_text('{"scores": [1]}')

    found = verify(model)

    assert [line.partition(": ")[2][:8] for line in found.mismatches] == ["changed,"]
    assert found.not_scored == "metrics.json was changed after the export"


def test_scores_of_a_file_that_is_not_listed_are_not_compared(model):
    provenance = read_provenance(model)
    del provenance["files"]["metrics.json"]
    (model / "provenance.json").write_text(json.dumps(provenance))
    (model / "metrics.json").write_text("[]")

    found = verify(model)

    assert found.unlisted == ["metrics.json"]
    assert found.not_scored == "metrics.json was changed after the export"


@pytest.mark.parametrize(
    "content",
    [
        {"format": 1},
        {"format": 1, "files": [1], "data": {"fingerprint": ""}},
        {"format": 1, "files": {"metrics.json": {}}, "data": {"fingerprint": ""}},
        {"format": 1, "files": {"metrics.json": {"sha256": []}}, "data": {"fingerprint": ""}},
        {"format": 1, "files": {"metrics.json": {"sha256": ["0"]}}, "data": []},
    ],
)
def test_a_provenance_of_another_shape_is_refused(model, content):
    (model / "provenance.json").write_text(json.dumps(content))

    with pytest.raises(StorageError, match=r"provenance\.json: damaged \(.*\); export the model a"):
        verify(model)


def test_settings_that_were_changed_are_not_used(model):
    path = model / "config.yaml"
    path.write_text(path.read_text() + "\n")

    with pytest.raises(StorageError, match=r"config\.yaml: damaged, its SHA-256 is not the one in"):
        load_model(model)


def test_a_card_that_was_filled_in_is_no_mismatch_and_a_new_file_is_named(model, capsys):
    card = model / "MODEL_CARD.md"
    card.write_text(card.read_text().replace("Licence of this model:", "Licence: MIT"))
    (model / "evaluation_test.json").write_text("{}")

    code, said = run(capsys, model)

    assert code == 0
    assert said.out.splitlines()[:2] == [
        "MODEL_CARD.md has been edited since, which is fine",
        "not part of the export, so not checked: evaluation_test.json",
    ]


def test_without_its_data_only_the_files_are_verified_and_it_is_said(model, tmp_path, capsys):
    code, said = run(capsys, model, "--data-dir", tmp_path / "gone")

    assert code == 0
    first, second = said.out.splitlines()
    assert first == (
        f"scores not checked: {tmp_path / 'gone'}: no such folder; it must hold train/ and val/; "
        "give the data folder with --data-dir"
    )
    assert second == f"{model}: unchanged since the export (7 files)"


def test_other_data_are_not_scored_on(model, data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path / "other")
    next((tmp_path / "other" / "val").glob("*.npz")).unlink()

    found = verify(model, tmp_path / "other")

    assert found.scores == 0
    assert found.not_scored.startswith("the data is not that of its training; give it with")


def test_a_folder_without_provenance_is_refused(tmp_path):
    with pytest.raises(
        StorageError, match=r"provenance\.json: cannot be read \(No such file .*name a folder made"
    ):
        verify(tmp_path)


def test_a_damaged_provenance_is_refused(model):
    (model / "provenance.json").write_text("{")

    with pytest.raises(StorageError, match=r"provenance\.json: damaged \(.*export the model again"):
        verify(model)


def test_a_newer_format_is_refused_with_both_numbers(model):
    path = model / "provenance.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 9'))

    with pytest.raises(StorageError, match="written in format 9, this program reads up to 1; upd"):
        verify(model)
