"""What `best` and `list` show of a search between two metrics."""

from tests.builders import MadeSearch
from tests.experiment.conftest import row, space_of
from tune_encoder.experiment.views import best_view

TWO = {
    "metric": {"name": "val_loss", "second": "parameters"},
    "scheduler": {"name": "none"},
    "constraints": {"parameters": {"max": 50_000}},
}
SIZES = (30_000, 9_000, 20_000, 90_000)


def made(folder):
    """Trial 2 is beaten by trial 0 in both metrics, and trial 3 is too large."""

    def row_of(number, epoch, loss):
        return {**row(number, epoch, loss), "parameters": SIZES[number]}

    search = MadeSearch(folder, space_of(**TWO), row_of=row_of)
    for losses in ([0.9, 0.5], [0.8, 0.7], [0.95, 0.75], [0.2, 0.1]):
        search.trial(losses, "COMPLETE")
    return search.experiment


def test_best_shows_the_front_and_how_to_export_from_it(say, tmp_path):
    made(tmp_path)

    lines = say("best mine", tmp_path).splitlines()

    assert lines[0] == "best: trial 0, epoch 2"
    assert "  parameters  30,000" in lines
    assert lines[-5:] == [
        "no trial is better in both metrics than one of these:",
        "trial  epoch  val_loss  parameters",
        "    0      2       0.5      30,000  best",
        "    1      2       0.7       9,000",
        f"export one: tune-encoder export mine --root {tmp_path} --trial N",
    ]


def test_its_json_has_the_front_too(tmp_path):
    view = best_view(made(tmp_path))

    assert view["front"] == [
        {"trial": 0, "epoch": 2, "values": {"val_loss": 0.5, "parameters": 30_000}},
        {"trial": 1, "epoch": 2, "values": {"val_loss": 0.7, "parameters": 9_000}},
    ]


def test_list_shows_the_ends_of_the_front(say, tmp_path):
    made(tmp_path)

    head, line = say("list", tmp_path).splitlines()

    assert head.split()[-1] == "front"
    assert line.endswith("2 trials: val_loss 0.5 to 0.7, parameters 30,000 to 9,000")


def test_status_has_the_front_and_the_constraints(say, tmp_path):
    made(tmp_path)

    lines = say("status mine", tmp_path).splitlines()

    assert "limits  broken by 1 trial" in lines
    assert "front   2 trials: val_loss 0.5 to 0.7, parameters 30,000 to 9,000" in lines
