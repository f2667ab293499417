import numpy as np
import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState

from tune_encoder.tuning.record.scores import best_value, comparable_scores

CURVE = [0.9, 0.6, 0.7]


def trial(state, curve=(), value=None, excess=None):
    return optuna.trial.create_trial(
        state=TrialState[state],
        value=value,
        intermediate_values=dict(enumerate(curve, start=1)),
        constraints=None if excess is None else {"clone_ms max": excess},
    )


@pytest.mark.parametrize(
    ("made", "value"),
    [
        (trial("RUNNING"), None),
        (trial("RUNNING", CURVE[:1]), None),
        (trial("RUNNING", CURVE[:2]), 0.6),
        (trial("PRUNED", CURVE[:1]), 0.9),
        (trial("PRUNED", CURVE), 0.6),
        (trial("PRUNED"), np.inf),
        (trial("FAIL", CURVE), np.inf),
        (trial("COMPLETE", CURVE, 0.6), 0.6),
        (trial("COMPLETE", value=0.5), 0.5),
        (trial("COMPLETE", value=0.5, excess=0.0), 0.5),
        (trial("COMPLETE", value=0.5, excess=0.1), np.inf),
    ],
)
def test_a_trial_counts_by_its_best_epoch_once_it_has_reached_a_rung(made, value):
    assert best_value(made, 2, StudyDirection.MINIMIZE) == value


def test_of_a_metric_to_maximize_the_values_change_their_sign():
    assert best_value(trial("PRUNED", CURVE), 2, StudyDirection.MAXIMIZE) == -0.9


def test_scores_are_ranks_whatever_the_scale_and_of_the_worse_half_all_are_equal():
    values = np.random.default_rng(0).lognormal(sigma=5, size=200)

    scores = comparable_scores(values.tolist())

    assert (
        np.argsort(scores[values < np.median(values)])
        == np.argsort(values[values < np.median(values)])
    ).all()
    assert (scores[values > np.median(values)] == 0).all()
    assert scores.min() == pytest.approx(-2.807, abs=1e-3)  # the quantile of 0.5 / 200


def test_failed_trials_are_the_worst_and_equal_values_have_equal_scores():
    first, second, third, *failed = comparable_scores([0.1, 0.1, 0.3, np.inf, np.inf])

    assert first == second < third == 0
    assert failed == [1, 1]
