import pytest

from tune_encoder.tuning.worker.trial import older_checkpoint_note


@pytest.mark.parametrize(
    ("recorded", "epoch", "is_damaged", "said"),
    [
        (8, 8, False, ""),
        (8, 9, False, ""),  # saved, and not recorded yet
        (0, 0, False, ""),
        (8, 7, True, "trial 3: the checkpoint of epoch 8 is damaged; it resumes from epoch 7"),
        (8, 8, True, "trial 3: the checkpoint of epoch 9 is damaged; it resumes from epoch 8"),
        (8, 5, False, "trial 3: the checkpoint of epoch 8 is missing; it resumes from epoch 5"),
        (8, 0, True, "trial 3: the checkpoint of epoch 8 is damaged; it starts again"),
        (8, 0, False, "trial 3: the checkpoint of epoch 8 is missing; it starts again"),
    ],
)
def test_a_trial_says_that_it_continues_from_an_older_checkpoint(recorded, epoch, is_damaged, said):
    assert older_checkpoint_note(3, recorded, epoch, is_damaged) == said
