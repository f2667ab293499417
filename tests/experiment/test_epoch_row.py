import pytest

from tune_encoder.experiment.epoch_row import as_row, objective, score_of, validation_scores

ROW = as_row({"epoch": 3, "val_loss": 0.5, "val_skill": 0.4, "train_loss": 0.6, "seconds": 2.0})


def test_a_score_is_found_by_its_name():
    assert score_of(ROW, "val_skill") == 0.4
    with pytest.raises(KeyError, match="val_cosine"):
        score_of(ROW, "val_cosine")


def test_a_row_from_before_metrics_could_be_chosen_is_judged_by_its_loss():
    assert objective(ROW) == 0.5
    assert objective({**ROW, "objective": -0.4}) == -0.4


def test_the_validation_scores_of_a_row_lose_the_name_of_their_split():
    assert validation_scores(ROW) == {"loss": 0.5, "skill": 0.4}
