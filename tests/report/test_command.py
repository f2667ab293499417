"""The report from the command line and from Python."""

import pytest

import tune_encoder
from tests.report.conftest import TRIALS, made_search
from tune_encoder.cli import main
from tune_encoder.cli.report import write_report_at_end
from tune_encoder.errors import ConfigError


def run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["report", *words])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_the_command_says_where_the_report_is(tmp_path, capsys):
    made_search(tmp_path)
    made_search(tmp_path, TRIALS[:4], name="other")

    code, out, _ = run(capsys, "mine", "--compare", "other", "--root", str(tmp_path))

    assert (code, out) == (0, f"report: {tmp_path}/mine/report.html\n")
    assert "Comparison with other searches" in (tmp_path / "mine" / "report.html").read_text()


def test_an_experiment_to_compare_with_that_is_not_there_is_named(tmp_path, capsys):
    made_search(tmp_path)

    code, _, err = run(capsys, "mine", "--compare", "yours", "--root", str(tmp_path))

    assert code == 2
    assert f"{tmp_path}/yours: no such experiment; there are mine" in err


def test_python_writes_it_too(made, tmp_path):
    experiment = tune_encoder.Experiment(made.path)

    assert experiment.report(tmp_path / "page.html") == tmp_path / "page.html"
    with pytest.raises(ConfigError, match=r"yours: no such experiment; there are mine"):
        experiment.report(compare=["yours"])


def test_a_search_without_a_report_is_no_worse(tmp_path, capsys):
    made = made_search(tmp_path)
    experiment = tune_encoder.Experiment(made.path)
    (made.path / "report.html").mkdir()

    assert write_report_at_end(experiment) is None

    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"warning: no report was written ({made.path}/report.html: is a folder;")
    assert line.endswith(f"try `tune-encoder report mine --root {tmp_path}`")


def test_a_damaged_record_leaves_no_report_and_one_line(tmp_path, capsys):
    made = made_search(tmp_path)
    experiment = tune_encoder.Experiment(made.path)
    made.study_path.write_bytes(b"not a database" * 100)

    assert write_report_at_end(experiment) is None
    (line,) = capsys.readouterr().err.splitlines()
    assert "`tune-encoder repair mine" in line  # the words of the command line


def test_a_search_that_has_ended_writes_its_report(made, tmp_path):
    written = write_report_at_end(tune_encoder.Experiment(made.path))

    assert written == made.path / "report.html"
