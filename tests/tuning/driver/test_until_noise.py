"""Searches that end once another trial would gain less than the noise, without Ray."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import make_search, new_experiment, parse_space
from tests.tuning.driven import DrivenSearch
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.gain import hours_per_trial, read_gains, seed_noise, standard_error
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.experiment.views import status
from tune_encoder.report.facts import read_facts
from tune_encoder.report.gains import expected_gains
from tune_encoder.tuning.noise import check_noise_known
from tune_encoder.tuning.record.expected_gain import FEWEST_TRIALS, expected_gain

N_TRIALS = 80
CONFIRMED = {"dropout": {"float": [0.0, 0.9]}}
NOISE, NEARLY_NONE = 0.02, 1e-9


def space_of(until="noise", searched=None, **content):
    return parse_space(
        {
            "budget": {"trials": N_TRIALS, "epochs": 1, "until": until},
            "scheduler": {"name": "none"},
            "space": searched or {"dropout": {"float": [0.0, 0.9]}},
            **content,
        }
    )


class NoisySearch(DrivenSearch):
    """Its loss is a parabola of dropout, and has a standard error that is known."""

    def __init__(self, folder, space, error, workers=1):
        self.error = error
        super().__init__(new_experiment(folder, "mine", space), space, self._loss, workers)

    def _loss(self, number, epoch):
        dropout = self.record.trials[number].settings["dropout"]
        assert isinstance(dropout, float)
        return (dropout - 0.3) ** 2 + 0.1

    def _row(self, trial):
        return json.dumps({**json.loads(super()._row(trial)), "val_loss_se": self.error})


def test_it_ends_early_and_says_why_when_another_trial_would_gain_less_than_the_noise(tmp_path):
    search = NoisySearch(tmp_path, space_of(), NOISE)
    search.run()

    trials, gains = search.experiment.trials(), read_gains(search.experiment)
    assert FEWEST_TRIALS <= len(trials) < N_TRIALS
    assert [each.is_noise for each in gains] == [False] * (len(gains) - 1) + [True]
    assert (gains[-1].trials, gains[-1].noise) == (len(trials), NOISE)
    assert search.steering.stop_reason == (
        f"the next trial is expected to improve val_loss by {gains[-1].gain:.2g}, less than its "
        "noise of 0.02"
    )
    assert min(t.best["val_loss"] for t in trials if t.best) < 0.1 + NOISE
    view = status(search.experiment)
    assert (view["state"], view["resume"]) == ("finished", None)


@pytest.mark.parametrize(("until", "error"), [("noise", NEARLY_NONE), ("budget", NOISE)])
def test_it_uses_its_budget_where_there_is_hardly_noise_or_nobody_asked(tmp_path, until, error):
    budget = {"trials": 30, "epochs": 1, "until": until}
    search = NoisySearch(tmp_path, space_of(budget=budget), error)
    search.run()

    assert len(search.experiment.trials()) == 30
    assert search.steering.stop_reason == ""
    assert bool(read_gains(search.experiment)) == (until == "noise")


def test_trials_that_run_when_no_other_is_worth_it_are_trained_to_their_end(tmp_path):
    budget = {"trials": N_TRIALS, "epochs": 5, "until": "noise"}
    search = NoisySearch(tmp_path, space_of(budget=budget), NOISE, workers=4)
    search.run()

    trials = search.experiment.trials()
    assert len(trials) < N_TRIALS
    assert {(trial.state, len(trial.rows)) for trial in trials} == {("COMPLETE", 5)}


def test_resumed_after_each_epoch_it_ends_where_it_would_have(tmp_path):
    whole, pieces = (NoisySearch(tmp_path / name, space_of(), NOISE) for name in ("one", "many"))
    whole.run()
    pieces.run_in_pieces(1)

    assert pieces.outcome() == whole.outcome()
    assert read_gains(pieces.experiment) == read_gains(whole.experiment)


def test_the_status_shows_the_gain_beside_the_noise(tmp_path, capsys):
    from tune_encoder.cli import main

    search = NoisySearch(tmp_path, space_of(), NOISE)
    search.run()
    with pytest.raises(SystemExit):
        main(["status", "mine", "--root", str(tmp_path)])

    gain = read_gains(search.experiment)[-1].gain
    line = f"next    is expected to gain {gain:.2g}, with a noise of 0.02"
    expected, hours = (
        status(search.experiment)["expected"],
        hours_per_trial(search.experiment.trials()),
    )
    shown = capsys.readouterr().out.splitlines()
    assert shown[shown.index(line) + 1] == f"        that is {gain / hours:.2g} an hour of a worker"
    assert expected is not None
    assert expected["noise"] == NOISE


def test_the_report_shows_gain_and_noise_as_curves_of_a_search_that_asked_for_them(tmp_path):
    search = NoisySearch(tmp_path, space_of(), NOISE)
    assert expected_gains(read_facts(search.experiment)) == []
    search.run()

    figure, per_hour = expected_gains(read_facts(search.experiment))

    last = read_gains(search.experiment)[-1]
    assert figure.summary == (
        f"After {last.trials} trials another one was expected to improve val_loss by "
        f"{last.gain:.2g}, less than the noise of 0.02."
    )
    assert figure.table is not None
    assert len(figure.table.rows) == len(read_gains(search.experiment))
    assert per_hour.table is not None
    hours = hours_per_trial(search.experiment.trials())
    assert per_hour.table.rows[-1] == [str(last.epochs), f"{last.gain / hours:.4g}"]
    assert "<svg" in figure.svg


def test_a_damaged_file_of_gains_is_named(tmp_path):
    made = new_experiment(tmp_path)
    (made.path / "gain.json").write_text("[{")

    with pytest.raises(StorageError, match=r"gain\.json: damaged \(.*\); remove it"):
        read_gains(made)


# --- the gain ------------------------------------------------------------------------------------


def trials_of(values):
    """Trials with these losses, at even steps of dropout."""
    step = 0.9 / (len(values) - 1)
    return [
        TrialRecord(n, "COMPLETE", {"dropout": n * step}, [{"epoch": 1, "val_loss": value}])
        for n, value in enumerate(values)
    ]


def gain_of(trials):
    gain = expected_gain(space_of(), trials)
    assert gain is not None
    return gain


def test_a_gap_between_good_trials_promises_more_than_a_curve_that_is_known():
    known = trials_of([(n / 39 - 0.5) ** 2 for n in range(40)])
    with_gap = [trial for trial in known if not 12 <= trial.number < 28]

    assert 3 * gain_of(known) < gain_of(with_gap)


def test_it_has_the_units_of_the_metric():
    values = [(n / 29 - 0.4) ** 2 for n in range(30)]
    small, large = (
        gain_of(trials_of([factor * value for value in values])) for factor in (1.0, 1000.0)
    )

    assert large == pytest.approx(1000 * small, rel=1e-3)


def test_only_trials_that_keep_the_constraints_are_to_be_beaten_and_modelled():
    kept = trials_of([(n / 29 - 0.4) ** 2 + 0.5 for n in range(30)])
    best, *_ = trials_of([0.0, 0.0])
    row: EpochRow = {"epoch": 1, "val_loss": 0.0, "violation": 2.0}

    assert gain_of([*kept, replace(best, number=30, rows=[row])]) == gain_of(kept)


def test_few_trials_and_equal_ones_tell_no_gain():
    space = space_of()

    assert expected_gain(space, trials_of([0.5] * (FEWEST_TRIALS - 1))) is None
    assert expected_gain(space, trials_of([0.5] * FEWEST_TRIALS)) == 0


# --- the noise -----------------------------------------------------------------------------------


def test_the_seed_noise_is_pooled_over_the_configs_of_a_confirmation(tmp_path):
    space = parse_space({"budget": {"trials": 4, "epochs": 1}, "space": CONFIRMED})
    made = make_search(tmp_path, space, [("COMPLETE", {"dropout": d}, [d]) for d in (0.1, 0.2)])
    assert seed_noise(made) is None

    seeds = [({"dropout": 0.1, "seed": 1}, 0.1), ({"dropout": 0.1, "seed": 2}, 0.3),
             ({"dropout": 0.2, "seed": 1}, 0.5), ({"dropout": 0.2, "seed": 2}, 0.5)]  # fmt: skip
    trials = [("COMPLETE", config, [loss]) for config, loss in seeds]
    again = parse_space(
        {
            "budget": {"trials": 4, "epochs": 1},
            "space": {**CONFIRMED, "seed": {"int": [1, 2]}},
            "start": [config for config, _ in seeds],
        }
    )
    make_search(made.path / "confirm", again, trials, name="top2x2")

    assert seed_noise(made) == pytest.approx(0.01**0.5)  # variances 0.02 and 0


def test_the_standard_error_is_that_of_the_best_trial():
    space = space_of()
    trials = trials_of([0.5, 0.4, 0.6])
    assert standard_error(trials, space) is None

    trials[1].rows[0]["val_loss_se"] = 0.03
    assert standard_error(trials, space) == 0.03


REFUSED = (
    "budget.until is noise, but that of {} is not known: it has no standard error on this "
    "validation, and no config was trained with several seeds; search val_loss or val_skill over "
    "several voices, or run `tune-encoder confirm NAME` and then resume with --until noise"
)


@pytest.mark.parametrize(
    ("metric", "folds", "known"),
    [
        ("val_loss", 1, True),
        ("val_retrieval", 1, False),
        ("val_skill_ttl", 1, False),
        ("val_skill_ttl", 5, True),
        ("val_retrieval", 5, False),
    ],
)
def test_a_noise_that_nothing_tells_is_refused(data_dir, metric, folds, known):
    space = space_of(metric={"name": metric}, validation={"voices": folds})
    data = open_pack(pack_data(Path(data_dir), space.base_config()))

    if known:
        check_noise_known(space, data)
        return
    with pytest.raises(ConfigError) as refused:
        check_noise_known(space, data)
    assert str(refused.value) == REFUSED.format(metric)


def test_two_metrics_cannot_end_at_the_noise():
    with pytest.raises(ConfigError) as refused:
        space_of(metric={"name": "val_loss", "second": "parameters"})

    assert str(refused.value) == (
        "test: budget.until is noise, but what a trial gains of two metrics is not known; leave "
        "out metric.second, or until"
    )


def test_the_noise_does_not_matter_to_a_search_that_ends_with_its_budget(data_dir):
    space = space_of("budget", metric={"name": "val_retrieval"})

    check_noise_known(space, open_pack(pack_data(Path(data_dir), space.base_config())))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_search_ends_at_the_noise_is_finished_and_resumed_without_it(command):
    many = {
        "budget": {"trials": 60, "epochs": 1, "until": "noise"},
        "scheduler": {"name": "none"},
        "searcher": {"name": "random", "closed_form": False},
        "space": {"dropout": {"float": [0.0, 0.05]}},  # which hardly matters
        "start": [],
    }
    ended = command.run(*command.search_options(many))
    n_trials = len(command.experiment.trials())
    again = command.run("resume", "tiny", "--until", "budget", "--trials", f"{n_trials + 1}",
                        "--no-export")  # fmt: skip

    assert (ended.returncode, again.returncode) == (0, 0), (ended.stderr, again.stderr)
    assert FEWEST_TRIALS <= n_trials < 60
    assert "the next trial is expected to improve val_loss by" in ended.stdout
    assert "; resume with `tune-encoder resume tiny --until budget`\n" in ended.stdout
    assert len(command.experiment.trials()) == n_trials + 1
