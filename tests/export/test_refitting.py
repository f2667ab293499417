"""Training again on train and val together, of what was chosen over folds or on val."""

import dataclasses
import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch

from tests.builders import new_experiment
from tests.export.conftest import SPACE, TORCH, run_trial
from tune_encoder.config import ExportSettings, RetrainSettings, TrainConfig
from tune_encoder.data.fold_scores import baselines_over_folds
from tune_encoder.data.folds import all_voices, make_folds
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.errors import ConfigError, DataError, Interrupted, StorageError
from tune_encoder.experiment.epoch_row import validation_scores
from tune_encoder.experiment.folder import Experiment
from tune_encoder.export import export
from tune_encoder.export.choosing import choose
from tune_encoder.export.combining import average_model, ensemble_model, single_model
from tune_encoder.export.refitting import may_refit, refit_model, refit_models
from tune_encoder.export.retraining import plan_retraining
from tune_encoder.export.verifying import verify
from tune_encoder.model.evaluate import evaluate
from tune_encoder.model.folder import load_model
from tune_encoder.report import write_report
from tune_encoder.space import parse_space
from tune_encoder.system.lock import lock_experiment
from tune_encoder.training.checkpoints import load_state
from tune_encoder.training.loop import ending_at, train
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.start import versions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def folded_search(packed, data_dir, tmp_path_factory):
    """A finished search of two trials over three folds, made without Ray."""
    start = [{"learning_rate": 1.0e-8}, {"learning_rate": 2.0e-2}]
    content = {**SPACE, "validation": {"voices": 3}, "start": start}
    space = parse_space(content, "test", data_dir)
    folds = make_folds(packed, 3)
    experiment = new_experiment(
        tmp_path_factory.mktemp("runs"),
        "folded",
        space,
        data_dir=str(data_dir.resolve()),
        fingerprint=packed.info["fingerprint"],
        versions=versions(),
        baselines=baselines_over_folds(folds),
    )
    record = Record.open(experiment, space)
    for _ in range(space.budget.trials):
        run_trial(record, record.ask(), folds, worse_at=space.budget.epochs)
    return experiment


@pytest.fixture(scope="module")
def exported(folded_search, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "best"
    return folder, export(folded_search, folder, TORCH)[0]


@pytest.fixture
def experiment(folded_search, tmp_path):
    """A copy to change, of which nothing is exported yet."""
    shutil.copytree(folded_search.path, tmp_path / "runs" / folded_search.name)
    shutil.rmtree(tmp_path / "runs" / folded_search.name / "refit", ignore_errors=True)
    return Experiment(tmp_path / "runs" / folded_search.name)


@pytest.fixture
def made(searched, tmp_path):
    """A copy of a search that was scored on val."""
    shutil.copytree(searched.path, tmp_path / "runs" / searched.name)
    return Experiment(tmp_path / "runs" / searched.name)


def trained_on_all(experiment, number, epoch, data, folder):
    """The encoder of a trial's config, trained on all voices up to an epoch."""
    config = experiment.space().config(experiment.trials()[number].settings)
    states = []

    with ending_at(epoch) as check:

        def report(row, state):
            states.append(state)
            check(row)

        train(dataclasses.replace(config, early_stopping_patience=0), data, folder, report)
    return states[-1].model


def winner(experiment):
    return min(
        ((trial, row) for trial in experiment.trials() for row in trial.rows),
        key=lambda pair: pair[1]["val_loss"],
    )


def test_the_best_config_is_trained_on_all_voices_up_to_the_best_epoch(
    exported, folded_search, packed, tmp_path
):
    folder, metrics = exported
    trial, row = winner(folded_search)
    assert row["epoch"] < folded_search.space().budget.epochs

    again = trained_on_all(folded_search, trial.number, row["epoch"], all_voices(packed), tmp_path)

    assert (metrics["trial"], metrics["epoch"]) == (trial.number, row["epoch"])
    weights = load_model(folder)[0].state_dict()
    torch.testing.assert_close(weights, again.state_dict(), rtol=0, atol=0)
    assert metrics["trained_in"].startswith(f"folded/refit/{trial.number:04d}_{row['epoch']:06d}_")


def test_its_scores_are_those_over_the_folds_and_on_test(exported, folded_search):
    folder, metrics = exported
    _, row = winner(folded_search)

    assert list(metrics["scores"]) == ["folds", "test"]
    assert metrics["voices"] == {"folds": "new", "test": "new"}
    assert metrics["folded"]["folds"] == 3
    assert metrics["folded"]["scores"]["model"] == validation_scores(row)
    for rows in metrics["scores"].values():
        assert set(rows) == {"mean", "ridge", "statistics", "model"}
    over_folds = metrics["scores"]["folds"]
    assert over_folds["model"]["skill"] == row["val_skill"]
    assert over_folds["ridge"]["skill"] == folded_search.fold_baselines()["ridge"]["skill"]
    low, high = metrics["skill_interval_95"]["folds"]
    assert low < row["val_skill"] < high
    assert json.loads((folder / "metrics.json").read_text()) == json.loads(json.dumps(metrics))


def test_provenance_and_card_say_what_it_was_trained_on_and_what_the_scores_are_of(exported):
    folder, _ = exported
    origin = json.loads((folder / "provenance.json").read_text())
    card = (folder / "MODEL_CARD.md").read_text()

    assert (origin["trained_on"], origin["folds"]) == (["train", "val"], 3)
    assert origin["data"]["voices"]["train"] == 32
    assert (
        "The model was trained on all voices of train and val. The scores of *folds* are of" in card
    )
    assert (
        "3 encoders with its settings and epochs, each on voices that it was not trained on" in card
    )


def test_a_verification_scores_the_model_on_test_as_when_it_was_exported(exported):
    found = verify(exported[0])

    assert found.mismatches == []
    assert found.scores == 4 * 8


def test_a_second_export_trains_nothing(exported, folded_search, tmp_path):
    file = next(folded_search.path.glob("refit/*/final_checkpoint.pt"))
    trained_at = file.stat().st_mtime_ns

    export(folded_search, tmp_path / "again", TORCH)

    assert file.stat().st_mtime_ns == trained_at
    for name in ("model.safetensors", "config.yaml", "metrics.json"):
        assert (tmp_path / "again" / name).read_bytes() == (exported[0] / name).read_bytes()


def test_a_stopped_export_goes_on_from_its_last_epoch_and_ends_as_an_uninterrupted_one(
    experiment, exported, packed, tmp_path
):
    choices, told = choose(experiment, 1), []

    def stop(row):
        if row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"saved; resume with `tune-encoder export folded --root"):
        refit_models(experiment, choices, TORCH, packed, stop)
    (file,) = experiment.path.glob("refit/*/final_checkpoint.pt")
    assert load_state(file)["epoch"] == 2

    refit_models(experiment, choices, TORCH, packed, lambda row: told.append(row["epoch"]))

    assert told == list(range(3, choices[0].row["epoch"] + 1))
    whole, resumed = load_state(exported[0] / "model.pt"), load_state(file)
    for part in ("model", "optimizer", "schedule"):
        torch.testing.assert_close(resumed[part], whole[part], rtol=0, atol=0)


def test_two_processes_do_not_refit_the_same(experiment, packed, tmp_path):
    refit_models(experiment, choose(experiment, 1), TORCH, packed, lambda row: None)
    (folder,) = experiment.path.glob("refit/*")

    with lock_experiment(folder), pytest.raises(StorageError, match=r"in use by pid \d+ on"):
        export(experiment, tmp_path / "model", TORCH)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("average", dataclasses.replace(TORCH, average=2)),
        ("ensemble", dataclasses.replace(TORCH, ensemble=2)),
        ("refit", dataclasses.replace(TORCH, refit="none")),
    ],
)
def test_checkpoints_of_folds_are_neither_combined_nor_exported(
    experiment, tmp_path, name, settings
):
    with pytest.raises(
        ConfigError, match=rf"{name} is (2|none), but folded was scored on folds: its check"
    ):
        export(experiment, tmp_path / "model", settings)
    assert not (experiment.path / "refit").exists()


def test_a_search_over_folds_is_confirmed_and_not_retrained(experiment):
    with pytest.raises(
        ConfigError, match=r"scored on 3 folds of voices, .* `tune-encoder confirm f"
    ):
        plan_retraining(experiment, RetrainSettings())


def test_data_without_test_voices_are_exported_with_the_scores_over_folds(
    experiment, data_dir, tmp_path
):
    shutil.copytree(data_dir, tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "test")
    fingerprint = open_pack(pack_data(tmp_path / "two", TrainConfig())).info["fingerprint"]
    content = experiment.read_search()
    experiment.write_search(
        {**content, "data_dir": str(tmp_path / "two"), "fingerprint": fingerprint}
    )

    (metrics,) = export(experiment, tmp_path / "model", TORCH)

    assert list(metrics["scores"]) == ["folds"]
    assert "| folds | new | model |" in (tmp_path / "model" / "MODEL_CARD.md").read_text()
    assert verify(tmp_path / "model").mismatches == []


def test_the_report_shows_the_scores_over_folds_and_says_why_there_is_no_single_winner(experiment):
    page = write_report(experiment).read_text()

    _, row = winner(experiment)
    assert f"On the left-out voices it has a new-voice skill of {row['val_skill']:.3f}" in page
    assert "The winner is 3 encoders, each trained without the voices of one fold" in page


# --- of a search that was scored on val -----------------------------------------------------------

ALWAYS = dataclasses.replace(TORCH, refit="always")


def test_what_was_chosen_on_val_is_trained_on_val_too(made, packed, tmp_path):
    folder = tmp_path / "model"
    (metrics,) = export(made, folder, ALWAYS)

    assert metrics["epoch"] < made.space().budget.epochs
    again = trained_on_all(
        made, metrics["trial"], metrics["epoch"], all_voices(packed), tmp_path / "run"
    )
    weights = load_model(folder)[0].state_dict()
    torch.testing.assert_close(weights, again.state_dict(), rtol=0, atol=0)
    assert json.loads((folder / "provenance.json").read_text())["trained_on"] == ["train", "val"]
    assert list(metrics["scores"]) == ["test"]
    assert verify(folder).mismatches == []


def test_what_that_changed_is_said_beside_baselines_that_were_fitted_again_too(
    made, packed, tmp_path
):
    (before,) = export(made, tmp_path / "before", dataclasses.replace(TORCH, refit="none"))
    (after,) = export(made, tmp_path / "after", ALWAYS)

    changed = after["refitted"]
    assert "refitted" not in before
    assert changed["val_skill"] == pytest.approx(before["scores"]["val"]["model"]["skill"])
    known = before["scores"]["test"]["model"]["skill"]
    assert changed["test_skill_before"] == pytest.approx(known)
    assert changed["test_skill"] != pytest.approx(known)
    assert after["scores"]["test"]["mean"]["skill"] == 0
    for name in ("ridge", "statistics"):
        assert after["scores"]["test"][name] != before["scores"]["test"][name]
    card = (tmp_path / "after" / "MODEL_CARD.md").read_text()
    assert "chosen on val, then trained again on train and val together" in card
    difference = changed["test_skill"] - known
    assert (
        f"chosen on val at epoch {changed['epoch']} with a skill of {changed['val_skill']:.3f}, "
        f"then trained on train and val together for {after['epoch']}: new-voice skill on test "
        f"{difference:+.3f} (95 % " in card
    )


def test_the_members_of_an_ensemble_are_trained_again_and_keep_their_shares(made, packed):
    choices = choose(made, 2)
    mixed = ensemble_model("blend", choices, [0.25, 0.75])

    model = refit_model(made, mixed, packed)

    alone = [refit_model(made, single_model(each), packed) for each in choices]
    one, other = (each.predict(packed.test) for each in alone)
    found = model.predict(packed.test)
    np.testing.assert_allclose(found.ttl, 0.25 * one.ttl + 0.75 * other.ttl, atol=1e-6)
    np.testing.assert_allclose(found.dp, 0.25 * one.dp + 0.75 * other.dp, atol=1e-6)
    assert [each["trained_in"].split("/")[1] for each in model.describe_members()] == 2 * ["refit"]


def of_kind(packed, kind):
    """The data as if val had voices of another kind."""
    kinds = {**packed.info["voice_kinds"], "val": kind}
    return dataclasses.replace(packed, info={**packed.info, "voice_kinds": kinds})


@pytest.mark.parametrize(
    ("kind", "has_test", "changes", "refits"),
    [
        ("known", True, {}, True),
        ("known", True, {"trial": 0}, False),
        ("known", True, {"top_k": 2}, False),
        ("known", True, {"refit": "none"}, False),
        ("known", False, {}, False),
        ("new", True, {}, False),
        ("mixed", True, {}, False),
        ("new", True, {"refit": "always"}, True),
        ("new", True, {"refit": "always", "trial": 0}, True),
    ],
)
def test_by_itself_it_is_done_where_val_has_voices_of_train(
    searched, packed, kind, has_test, changes, refits
):
    data = dataclasses.replace(of_kind(packed, kind), test=packed.test if has_test else None)
    models = [single_model(choose(searched, 1)[0])]

    assert may_refit(searched, models, dataclasses.replace(TORCH, **changes), data) is refits


@pytest.mark.parametrize(
    "section",
    [
        {"constraints": {"parameters": {"max": 1.0e6}}},
        {"metric": {"second": "parameters"}, "scheduler": {"name": "none"}},
        {"resources": {"gpus": 1}},
    ],
    ids=str,
)
def test_by_itself_it_breaks_no_limit_and_takes_no_device(made, packed, section):
    made.write_search({**made.read_search(), "space": {**made.read_search()["space"], **section}})
    models = [single_model(choose(made, 1)[0])]

    assert not may_refit(made, models, TORCH, of_kind(packed, "known"))


def test_by_itself_it_does_not_train_beside_the_search_or_an_average(made, packed):
    data = of_kind(packed, "known")
    models = [single_model(choose(made, 1)[0])]

    with lock_experiment(made.path):
        assert not may_refit(made, models, TORCH, data)
    assert may_refit(made, models, TORCH, data)
    assert not may_refit(made, [average_model(choose(made, 2))], TORCH, data)


def test_on_known_voices_it_is_trained_as_long_as_its_trial_was(made, packed):
    (choice,), told = choose(made, 1), []

    model = refit_model(
        made,
        single_model(choice),
        of_kind(packed, "known"),
        lambda row: told.append(row["epoch"]),
    )

    assert choice.row["epoch"] < len(choice.trial.rows)
    assert told == [row["epoch"] for row in choice.trial.rows]
    assert model.describe_members()[0]["epoch"] == len(choice.trial.rows)


def test_a_trial_that_was_to_go_on_later_keeps_the_rates_it_was_trained_with(made, packed):
    (choice,) = choose(made, 1)
    longer = {**choice.trial.settings, "epochs": 50}
    extended = dataclasses.replace(choice, trial=dataclasses.replace(choice.trial, settings=longer))

    models = [refit_model(made, single_model(each), packed) for each in (choice, extended)]

    first, second = (model.encoder.state_dict() for model in models)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.fixture
def known_search(packed, data_dir, tmp_path):
    """A finished search of data whose val has other clips of the voices of train."""
    data = tmp_path / "known"
    shutil.copytree(data_dir, data)
    shutil.rmtree(data / "val")
    train = sorted((data / "train").iterdir())
    (data / "val").mkdir()
    for path in train[:8]:
        shutil.copy(path, data / "val")
    found = open_pack(pack_data(data, TrainConfig()))
    space = parse_space(SPACE, "test", data)
    experiment = new_experiment(
        tmp_path / "runs",
        "known",
        space,
        data_dir=str(data),
        fingerprint=found.info["fingerprint"],
        versions=versions(),
    )
    record = Record.open(experiment, space)
    for _ in range(space.budget.trials):
        run_trial(record, record.ask(), found, worse_at=space.budget.epochs)
    return experiment


def test_a_search_on_known_voices_is_exported_so_and_its_papers_say_so(known_search, tmp_path):
    folder = known_search.path / "best"
    (metrics,) = export(known_search, folder, TORCH)

    assert metrics["epoch"] == 6
    assert metrics["refitted"]["epoch"] < 6
    card = (folder / "MODEL_CARD.md").read_text()
    assert "| train and val | 24 | 32 |" in card
    assert "| val |" not in card
    assert verify(folder).mismatches == []
    skill = evaluate(folder, known_search.data_source().folder, "test").scores["model"]["skill"]
    page = write_report(known_search).read_text()
    assert f"The exported model, trained again on train and val, has {skill:.3f}." in page


def test_a_refit_that_fails_does_not_lose_the_export(known_search, tmp_path):
    export(known_search, tmp_path / "first", TORCH)
    (folder,) = known_search.path.glob("refit/*")

    with lock_experiment(folder):
        (metrics,) = export(known_search, tmp_path / "second", TORCH)
        with pytest.raises(StorageError, match=r"in use by pid \d+ on"):
            export(known_search, tmp_path / "third", ALWAYS)

    assert "in use by pid" in metrics["not_refitted"]
    assert set(metrics["scores"]) == {"val", "test"}
    card = (tmp_path / "second" / "MODEL_CARD.md").read_text()
    assert "not trained on val, too, since that failed: " in card


def test_scores_of_what_was_trained_on_val_come_with_a_warning(made, data_dir, tmp_path):
    export(made, tmp_path / "model", ALWAYS)

    on_val, on_test = (evaluate(tmp_path / "model", data_dir, each) for each in ("val", "test"))

    assert "trained on val, too: its scores there tell nothing of other clips" in on_val.warning
    assert "on train and val, the baselines here on train alone" in on_test.warning


def test_a_notebook_keeps_its_threads(made, packed):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        refit_model(made, single_model(choose(made, 1)[0]), packed)

        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_without_a_test_split_it_is_refused(searched, packed):
    models = [single_model(choose(searched, 1)[0])]

    with pytest.raises(DataError, match=r"has no test split, so .* add test/ or leave out refit"):
        may_refit(searched, models, ALWAYS, dataclasses.replace(packed, test=None))


def test_an_average_of_epochs_is_not_trained_again():
    with pytest.raises(ConfigError, match=r"refit is always, but an average of 2 .* leave out"):
        ExportSettings(refit="always", average=2)
