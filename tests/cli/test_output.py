"""--quiet and --json-lines of commands that are no search; of a search see test_output_search."""

import io
import json
import math

import pytest

from tests.cli.test_train import options as train_options
from tune_encoder.cli import main
from tune_encoder.cli.output import FORMAT, JsonLines
from tune_encoder.system.bars import progress_bar
from tune_encoder.system.events import is_heard, listening


@pytest.fixture
def run(capfd):
    """Run a command; returns its exit code, and what it wrote to both streams."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        told = capfd.readouterr()
        return ended.value.code, told.out, told.err

    return run


def parsed(out):
    return [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]


def test_a_run_told_in_json_has_an_event_of_each_epoch_and_of_its_end(run, data_dir, tmp_path):
    code, out, err = run(*train_options(data_dir, tmp_path / "run", epochs=2), "--json-lines")

    lines = [line for line in parsed(out) if line["event"] != "progress"]
    rows = parsed((tmp_path / "run" / "metrics.jsonl").read_text())
    assert code == 0
    assert [(line["event"], line.get("epoch")) for line in lines] == [
        ("epoch", 1), ("epoch", 2), ("end", None),
    ]  # fmt: skip
    assert [line["val_loss"] for line in lines[:2]] == [row["val_loss"] for row in rows]
    assert "export with `tune-encoder export " in lines[-1]["result"]
    assert "Epoch 2/2" in err


def test_a_quiet_run_prints_its_result_alone(run, data_dir, tmp_path):
    code, out, err = run(*train_options(data_dir, tmp_path / "run", epochs=1), "--quiet")

    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1
    assert out.startswith("epoch 1, val loss ")


def test_a_quiet_command_still_says_its_error(run, tmp_path):
    code, out, err = run("train", "--data-dir", tmp_path / "none", "--quiet")

    assert (code, out) == (3, "")
    assert err.startswith("tune-encoder: ")


def test_quiet_and_json_lines_exclude_each_other(run):
    code, out, err = run("search", "--quiet", "--json-lines")

    assert (code, out) == (2, "")
    assert "argument --json-lines: not allowed with argument --quiet" in err


def test_json_at_the_end_and_lines_of_json_exclude_each_other(run, tmp_path):
    code, out, err = run("confirm", "mine", "--root", tmp_path, "--json", "--json-lines")

    assert code == 2
    assert parsed(out)[-1]["error"] in err
    assert "leave out --quiet and --json-lines" in err


def test_a_line_has_null_where_json_has_no_number():
    out = io.StringIO()

    JsonLines(out)("epoch", {"skill": math.nan, "more": [math.inf, 1.5]})

    line = json.loads(out.getvalue(), parse_constant=pytest.fail)
    assert (line["format"], line["event"]) == (FORMAT, "epoch")
    assert (line["skill"], line["more"]) == (None, [None, 1.5])


def test_a_bar_tells_how_far_it_is_and_draws_nothing(capfd):
    told = []

    with listening(lambda event, values: told.append((event, dict(values)))):
        assert list(progress_bar(range(3), description="import")) == [0, 1, 2]

    whole = {"work": "import", "total": 3, "unit": "clip"}
    assert told[0] == ("progress", {**whole, "done": 0})
    assert told[-1] == ("progress", {**whole, "done": 3})
    assert capfd.readouterr() == ("", "")
    assert not is_heard()
