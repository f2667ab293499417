"""Training again on train and val together, of what was chosen on val."""

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
from typing import Any

import numpy as np
import pytest
import torch

from tests.builders import new_experiment
from tests.export.conftest import SPACE, TORCH, run_trial, trained_on_all
from tune_encoder.cli.export import source_words
from tune_encoder.config import ExportSettings, TrainConfig
from tune_encoder.data.folds import all_voices
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.errors import ConfigError, DataError, Interrupted, StorageError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.export import export, refit_runs, refitting
from tune_encoder.export.choosing import choose
from tune_encoder.export.combining import average_model, ensemble_model, single_model
from tune_encoder.export.refit_runs import RefitRun
from tune_encoder.export.refitting import may_refit, refit_model
from tune_encoder.export.verifying import verify
from tune_encoder.model.evaluate import evaluate
from tune_encoder.model.folder import load_model
from tune_encoder.report import write_report
from tune_encoder.space import parse_space
from tune_encoder.system.lock import lock_experiment
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.start import versions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def made(searched, tmp_path):
    """A copy of a search that was scored on val."""
    shutil.copytree(searched.path, tmp_path / "runs" / searched.name)
    return Experiment(tmp_path / "runs" / searched.name)


ALWAYS = dataclasses.replace(TORCH, refit="always", refit_seeds=1)


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

    model = refit_model(made, mixed, packed, 1)

    alone = [refit_model(made, single_model(each), packed, 1) for each in choices]
    one, other = (each.predict(packed.test) for each in alone)
    found = model.predict(packed.test)
    np.testing.assert_allclose(found.ttl, 0.25 * one.ttl + 0.75 * other.ttl, atol=1e-6)
    np.testing.assert_allclose(found.dp, 0.25 * one.dp + 0.75 * other.dp, atol=1e-6)
    assert [each["trained_in"].split("/")[1] for each in model.describe_members()] == 2 * ["refit"]


def seeded(choice, seed):
    settings = {**choice.trial.settings, "seed": seed}
    return dataclasses.replace(choice, trial=dataclasses.replace(choice.trial, settings=settings))


def test_with_several_seeds_their_mean_is_predicted(made, packed):
    (choice,) = choose(made, 1)
    seeds = choice.trial.seed, 1
    assert seeds == (0, 1)

    model = refit_model(made, single_model(choice), packed, 2)

    one, other = (
        refit_model(made, single_model(seeded(choice, seed)), packed, 1).predict(packed.test)
        for seed in seeds
    )
    found = model.predict(packed.test)
    assert not np.allclose(one.ttl, other.ttl, atol=1e-3)
    np.testing.assert_allclose(found.ttl, (one.ttl + other.ttl) / 2, atol=1e-6)
    np.testing.assert_allclose(found.dp, (one.dp + other.dp) / 2, atol=1e-6)
    assert [each["seed"] for each in model.describe_members()] == [*seeds]
    assert model.kind == "ensemble"


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(refit_runs, "default_workers", lambda maximum: 2)


def weights(model):
    return [member.state["model"] for member in model.members]


@pytest.mark.usefixtures("two_cores")
def test_seeds_train_side_by_side_to_the_weights_that_each_has_alone(
    made, packed, tmp_path, monkeypatch
):
    shutil.copytree(made.path, tmp_path / "other" / made.name)
    other, told = Experiment(tmp_path / "other" / made.name), []
    alone = refit_model(other, single_model(choose(other, 1)[0]), packed, 1)
    monkeypatch.setattr(RefitRun, "train", None)  # of this process: the others have their own

    choice = choose(made, 1)[0]
    both = refit_model(made, single_model(choice), packed, 2, lambda row: told.append(row["epoch"]))

    torch.testing.assert_close(weights(both)[0], *weights(alone), rtol=0, atol=0)
    assert sorted(told) == sorted(2 * [*range(1, choice.row["epoch"] + 1)])


@pytest.mark.usefixtures("two_cores")
def test_seeds_that_are_stopped_go_on_and_end_as_uninterrupted_ones(made, packed, tmp_path):
    shutil.copytree(made.path, tmp_path / "other" / made.name)
    other = Experiment(tmp_path / "other" / made.name)
    whole = refit_model(other, single_model(choose(other, 1)[0]), packed, 2)
    (choice,), told = choose(made, 1), []

    def stop(row):
        if row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"each finished epoch is saved; resume with `"):
        refit_model(made, single_model(choice), packed, 2, stop)
    assert not multiprocessing.active_children()
    resumed = refit_model(made, single_model(choice), packed, 2, lambda row: told.append(row))

    assert len(told) < 2 * choice.row["epoch"]
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


@pytest.mark.usefixtures("two_cores")
def test_of_seeds_side_by_side_one_that_another_process_trains_is_named(made, packed):
    model = single_model(choose(made, 1)[0])
    refit_model(made, model, packed, 2)
    folder, other = sorted(made.path.glob("refit/*"))
    for each in (folder, other):
        (each / "final_checkpoint.pt").unlink()

    with lock_experiment(folder), pytest.raises(StorageError, match=r"in use by pid \d+ on"):
        refit_model(made, model, packed, 2)


def test_a_closed_form_has_no_seeds_and_keeps_its_share(packed, data_dir, tmp_path):
    space = parse_space({**SPACE, "searcher": {"name": "random"}}, "test", data_dir)
    experiment = new_experiment(
        tmp_path / "runs", "two", space, data_dir=str(data_dir.resolve()), versions=versions(),
        fingerprint=packed.info["fingerprint"],
    )  # fmt: skip
    record = Record.open(experiment, space)
    for _ in range(2):
        run_trial(record, record.ask(), packed)
    closed, network = sorted(choose(experiment, 2), key=lambda each: each.trial.number)
    assert closed.config.encoder_type == "statistics"

    mixed = ensemble_model("blend", [closed, network], [0.4, 0.6])
    model = refit_model(experiment, mixed, packed, 2)

    told = [(each["trial"], each["share"]) for each in model.describe_members()]
    assert told == [(closed.trial.number, 0.4), *2 * [(network.trial.number, 0.3)]]
    assert model.kind == "blend"
    uneven = refit_model(experiment, ensemble_model("ensemble", [closed, network]), packed, 2)
    assert [each["share"] for each in uneven.describe_members()] == [0.5, 0.25, 0.25]
    alone = refit_model(experiment, single_model(closed), packed)
    assert (alone.kind, len(alone.members)) == ("epoch", 1)


@pytest.mark.parametrize(
    ("kind", "seconds", "section", "n_members"),
    [
        ("known", 49, {}, 3),
        ("known", 51, {}, 1),
        ("known", 49, {"constraints": {"parameters": {"max": 1.0e6}}}, 1),
        ("new", 49, {}, 1),
    ],
)
def test_it_has_several_seeds_by_itself_on_known_voices_if_that_is_quick_and_nothing_is_limited(
    made, packed, kind, seconds, section, n_members
):
    made.write_search({**made.read_search(), "space": {**made.read_search()["space"], **section}})
    (choice,) = choose(made, 1)
    rows: Any = [{**row, "seconds": seconds} for row in choice.trial.rows]
    assert len(rows) == 6
    timed = dataclasses.replace(choice, trial=dataclasses.replace(choice.trial, rows=rows))

    model = refit_model(made, single_model(timed), of_kind(packed, kind))

    assert len(model.members) == n_members


def test_the_same_config_twice_is_trained_with_other_seeds_each_time(made, packed):
    (choice,) = choose(made, 1)
    confirmed = seeded(choice, 1)
    mixed = ensemble_model("ensemble", [choice, confirmed])

    model = refit_model(made, mixed, packed, 2)

    assert sorted(each["seed"] for each in model.describe_members()) == [0, 1, 2, 3]


def of_kind(packed, kind, split="val"):
    """The data as if a split had voices of another kind."""
    kinds = {**packed.info["voice_kinds"], split: kind}
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
def test_by_itself_it_is_done_where_val_has_voices_of_train_or_many_new_ones(
    searched, packed, kind, has_test, changes, refits
):
    data = dataclasses.replace(of_kind(packed, kind), test=packed.test if has_test else None)
    models = [single_model(choose(searched, 1)[0])]

    assert may_refit(searched, models, dataclasses.replace(TORCH, **changes), data) is refits


def test_enough_new_voices_in_val_are_trained_on_by_itself(searched, packed, monkeypatch):
    n_voices, models = len(set(packed.val.voices)), [single_model(choose(searched, 1)[0])]
    for least, refits in ((n_voices, True), (n_voices + 1, False)):
        monkeypatch.setattr(refitting, "MIN_NEW_VOICES", least)
        assert may_refit(searched, models, TORCH, packed) is refits
    monkeypatch.setattr(refitting, "MIN_NEW_VOICES", 0)
    assert not may_refit(searched, models, TORCH, of_kind(packed, "mixed"))
    assert not may_refit(searched, models, TORCH, dataclasses.replace(packed, test=None))
    assert may_refit(searched, models, TORCH, packed)
    shared = dataclasses.replace(packed, test=packed.val)
    for kind in ("new", "mixed"):
        assert not may_refit(searched, models, TORCH, of_kind(shared, kind, "test"))
    monkeypatch.setattr(refitting, "MAX_NEW_S", 0.0)
    assert not may_refit(searched, models, TORCH, packed)


def test_what_was_trained_on_new_voices_by_itself_is_verified_and_scored_on_test_alone(
    made, packed, tmp_path, monkeypatch
):
    monkeypatch.setattr(refitting, "MIN_NEW_VOICES", 1)
    (metrics,) = export(made, tmp_path / "model", dataclasses.replace(TORCH, blend="auto"))

    assert (list(metrics["scores"]), metrics["voices"]) == (["test"], {"test": "new"})
    assert metrics["refitted"]["test_skill"] != metrics["refitted"]["test_skill_before"]
    assert verify(tmp_path / "model").mismatches == []


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
        1,
        lambda row: told.append(row["epoch"]),
    )

    assert choice.row["epoch"] < len(choice.trial.rows)
    assert told == [row["epoch"] for row in choice.trial.rows]
    assert model.describe_members()[0]["epoch"] == len(choice.trial.rows)


def test_a_trial_that_was_to_go_on_later_keeps_the_rates_it_was_trained_with(made, packed):
    (choice,) = choose(made, 1)
    longer = {**choice.trial.settings, "epochs": 50}
    extended = dataclasses.replace(choice, trial=dataclasses.replace(choice.trial, settings=longer))

    models = [refit_model(made, single_model(each), packed, 1) for each in (choice, extended)]

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

    assert (metrics["kind"], metrics["epoch"], len(metrics["members"])) == ("ensemble", 6, 3)
    assert metrics["refitted"]["epoch"] < 6
    assert source_words(metrics).startswith(f"3 seeds of trial {metrics['trial']} of known/refit/")
    card = (folder / "MODEL_CARD.md").read_text()
    assert "| train and val | 24 | 32 |" in card
    assert (
        "together for 6, each network with up to 3 seeds, whose predictions are averaged: "
        in " ".join(card.split())
    )
    assert "| val |" not in card
    assert verify(folder).mismatches == []
    skill = evaluate(folder, known_search.data_source().folder, "test").scores["model"]["skill"]
    page = write_report(known_search).read_text()
    how = "made of several encoders and trained again on train and val"
    assert f"The exported model, {how}, has {skill:.3f}." in page


def test_a_refit_that_fails_does_not_lose_the_export(known_search, tmp_path):
    export(known_search, tmp_path / "first", TORCH)
    folder, *others = sorted(known_search.path.glob("refit/*"))
    assert len(others) == 2

    with lock_experiment(folder):
        (metrics,) = export(known_search, tmp_path / "second", TORCH)
        with pytest.raises(StorageError, match=r"in use by pid \d+ on"):
            export(known_search, tmp_path / "third", dataclasses.replace(TORCH, refit="always"))

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
        refit_model(made, single_model(choose(made, 1)[0]), packed, 1)

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


@pytest.mark.parametrize("changes", [{"refit": "none"}, {"trial": 0}, {"top_k": 2}, {"average": 2}])
def test_seeds_for_what_is_not_trained_again_are_refused(changes):
    with pytest.raises(ConfigError, match=r"refit_seeds is 2, but nothing .* set refit to always"):
        ExportSettings(refit_seeds=2, **changes)
