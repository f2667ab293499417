"""Learning curves and the best so far."""

from dataclasses import replace

import pytest

from tests.builders import epoch_row, make_search
from tests.report.conftest import (
    BEST,
    EPOCH_S,
    SPACE,
    TRAINING_S,
    TRIALS,
    linear,
    made_search,
    marks,
    numbers,
    tips,
    trials_of,
    words,
)
from tune_encoder.experiment.status import FINISHED, STOPPED
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.report.curves import MAX_POINTS, learning_curves, line_style, thin_rows
from tune_encoder.report.facts import MAX_DRAWN, read_facts, sample_for_plot
from tune_encoder.report.progress import best_over_epochs, best_over_time, progress

WITH_ROWS = [number for number, (_, _, values, *_) in enumerate(TRIALS) if values]


def test_every_trial_with_an_epoch_is_a_curve_and_the_best_lies_on_top(facts):
    figure = learning_curves(facts)

    assert sorted(trials_of(figure)) == WITH_ROWS
    (best,) = [mark for mark in marks(figure) if mark.get("data-trial") == str(BEST)]
    assert any("stroke-width: 2.4" in part.get("style", "") for part in best)
    assert "epoch 1, 3." in figure.summary
    assert {"best", "finished", "stopped early", "failed", "rung"} <= set(words(figure))


@pytest.mark.parametrize("name", ["median", "none"])
def test_without_rungs_none_is_plotted(tmp_path, name):
    space = replace(SPACE, scheduler=replace(SPACE.scheduler, name=name))

    figure = learning_curves(read_facts(make_search(tmp_path, space, TRIALS)))

    assert "compared" not in figure.summary
    assert "rung" not in words(figure)


def test_stopped_curves_fade(facts):
    assert line_style(STOPPED)[2] < line_style(FINISHED)[2]
    figure = learning_curves(facts)
    (stopped,) = [mark for mark in marks(figure) if mark.get("data-trial") == "2"]
    assert "stroke-opacity: 0.55" in next(each for each in stopped if each.get("style")).get(
        "style"
    )


def test_a_curve_says_its_trial_its_score_its_settings_and_why_it_failed(facts):
    said = "\n".join(tips(learning_curves(facts)))

    assert "trial 3, finished\nval_loss 0.42 at epoch 9 of 9 epochs\nlearning_rate 0.01" in said
    assert "trial 4, failed: TrainingDiverged: <script>" in said


def test_the_numbers_of_the_curves_are_the_trials_the_best_first(facts):
    table = numbers(learning_curves(facts))

    assert table.columns[:5] == ["trial", "state", "epochs", "best epoch", "val_loss"]
    assert table.rows[0][:5] == ["3", "finished", "9", "9", "0.42"]
    assert len(table.rows) == len(TRIALS)


def test_a_long_curve_is_thinned_with_its_first_best_and_last_epoch_and_says_so(tmp_path):
    values = [1.0 - 0.001 * epoch for epoch in range(250)]
    values[101] = 0.3
    facts = read_facts(made_search(tmp_path, [("COMPLETE", linear(0.001, 0.1), values)]))

    kept = [row["epoch"] for row in thin_rows(facts.trials[0].rows)]

    assert {1, 102, 250} <= set(kept)
    assert len(kept) <= MAX_POINTS
    assert "thinned, the longest to one epoch in 3, plus its best and last" in (
        learning_curves(facts).summary
    )


def test_of_too_many_trials_the_best_half_and_an_even_sample_of_the_others_is_plotted(facts):
    n = MAX_DRAWN + 60
    trials = [
        TrialRecord(number, "COMPLETE", linear(0.001, 0.1), [epoch_row(1, 0.3 + number / 1000)])
        for number in range(n)
    ]

    chosen, said = sample_for_plot(trials)

    numbers = sorted(trial.number for trial in chosen)
    assert len(set(numbers)) == MAX_DRAWN
    assert numbers[: MAX_DRAWN // 2] == list(range(MAX_DRAWN // 2))
    assert numbers[-1] == n - 1
    assert said == (
        " Of 260 trials 200 are shown: the 100 best, and 100 evenly spaced over the ranks of all "
        "others."
    )
    figure = learning_curves(replace(facts, trials=trials))
    assert said in figure.summary
    assert len(marks(figure)) == MAX_DRAWN


def test_the_best_so_far_is_the_lowest_of_all_epochs_before_without_failed_trials(facts):
    made = progress(facts)

    rows = [(r["order"], r["objective"], t) for t in facts.trials for r in t.rows]
    lowest, expected = float("inf"), []
    for place, (_, value, trial) in enumerate(sorted(rows, key=lambda row: row[0]), start=1):
        if value < lowest and trial.state != "FAIL":
            lowest = value
            expected.append((place, value))
    assert [(step.epochs, step.value) for step in made.steps] == expected
    assert made.steps[-1].value == pytest.approx(0.42)  # 0.1 belongs to a failed trial
    assert made.epochs == len(rows)


def test_a_step_of_the_best_so_far_is_a_mark(facts):
    figure = best_over_epochs(facts)

    assert len(marks(figure)) == len(progress(facts).steps) == len(numbers(figure).rows)
    assert "fell from 0.95 to 0.42" in figure.summary
    assert tips(figure)[-1].startswith("val_loss 0.42, skill 0.580\ntrial 3, epoch 9\nafter ")


def test_time_runs_from_the_beginning_of_the_first_epoch(facts):
    made = progress(facts)

    assert made.is_wall_clock
    assert made.steps[0].seconds == pytest.approx(TRAINING_S)
    n_even = sum(len(values) for _, _, values, *_ in TRIALS[::2])
    assert made.seconds == pytest.approx(n_even * EPOCH_S - (EPOCH_S - TRAINING_S))
    assert "including pauses between launches" in best_over_time(facts).summary


def test_without_clock_times_the_training_is_added_up_and_that_is_said(tmp_path):
    from tests.builders import make_search
    from tests.report.conftest import SPACE

    facts = read_facts(make_search(tmp_path, SPACE, TRIALS))

    made = progress(facts)

    assert not made.is_wall_clock
    assert made.seconds == made.epochs  # a second each
    assert "The record has no timestamps" in best_over_time(facts).summary


def test_a_metric_that_is_to_rise_rises(tmp_path):
    from tests.report.conftest import CONTENT
    from tune_encoder.space import parse_space

    space = parse_space({**CONTENT, "metric": {"name": "val_skill"}}, "test", tmp_path)
    trials = [("COMPLETE", linear(0.001, 0.1), [0.1, 0.5, 0.4])]
    facts = read_facts(made_search(tmp_path, trials, space))

    figure = best_over_epochs(facts)

    assert "rose from 0.1 to 0.5" in figure.summary
    assert len(marks(figure)) == 2
