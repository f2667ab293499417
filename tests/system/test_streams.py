"""What a command does when its output is closed, full, left by its reader, or of few letters."""

import os
import subprocess
import sys

import pytest

READER_LEFT = 141
LONG_OUTPUT = ("space", "quick", "--sample", "500")


def run(*arguments, out=subprocess.PIPE, closed=(), **environment):
    """Run a command with descriptors closed; returns its exit code, output and errors."""

    def close():
        for number in closed:
            os.close(number)

    done = subprocess.run(
        [sys.executable, "-m", "tune_encoder", *map(str, arguments)],
        stdout=out,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "", **environment},
        preexec_fn=close,
    )
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    return done.returncode, (done.stdout or b"").decode(encoding), done.stderr.decode(encoding)


@pytest.fixture
def left():
    """A pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.fixture
def full():
    with open("/dev/full", "wb") as file:  # noqa: PTH123  (a device)
        yield file


@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [(LONG_OUTPUT, ""), (LONG_OUTPUT, "1"), (("--help",), "")],
    ids=["space", "space, unbuffered", "help"],
)
def test_a_command_whose_reader_has_left_ends_without_a_word(left, command, unbuffered):
    assert run(*command, out=left, PYTHONUNBUFFERED=unbuffered) == (READER_LEFT, "", "")


@pytest.mark.parametrize("command", [LONG_OUTPUT, ("--help",)], ids=["space", "help"])
def test_a_full_disk_under_standard_output_is_said(full, command):
    code, _, errors = run(*command, out=full)

    assert code == 4
    assert errors == (
        "tune-encoder: standard output: cannot be written (No space left on device); make room "
        "there, or write it elsewhere\n"
    )


def test_a_command_that_makes_something_makes_it_although_its_reader_has_left(left, tmp_path):
    made = tmp_path / "demo"
    demo = ("data", "demo", made, "--voices", "2", "--val-voices", "1")

    assert run(*demo, out=left) == (0, "", "")
    assert len(list(made.glob("train/*.npz"))) >= 2


def test_evaluate_writes_its_files_although_its_reader_has_left(
    left, model_dir, data_dir, tmp_path
):
    evaluate = ("evaluate", model_dir, "--data-dir", data_dir, "--out", tmp_path / "scores")

    assert run(*evaluate, out=left) == (0, "", "")
    assert [*(tmp_path / "scores").glob("*.json")] != []


def test_a_command_that_makes_something_says_once_that_standard_output_is_full(full, tmp_path):
    demo = ("data", "demo", tmp_path / "demo", "--voices", "2", "--val-voices", "1")

    assert run(*demo, out=full) == (
        0,
        "",
        "warning: standard output: cannot be written (No space left on device); going on "
        "without it\n",
    )


def test_an_error_is_said_on_standard_output_if_standard_error_is_closed(tmp_path):
    code, out, _ = run("export", "none", "--root", tmp_path, closed=[2])

    assert code == 2
    assert out == f"tune-encoder: {tmp_path}/none: no such experiment; {tmp_path} has none\n"


def test_an_error_is_said_on_standard_output_if_standard_error_is_full(tmp_path, full):
    command = [sys.executable, "-m", "tune_encoder", "export", "none", "--root", str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, text=True)

    assert done.returncode == 2
    assert done.stdout.startswith(f"tune-encoder: {tmp_path}/none: no such experiment")


@pytest.mark.parametrize("closed", [[1], [1, 2]], ids=["output", "both"])
def test_a_command_works_without_standard_output(tmp_path, closed):
    made = tmp_path / "demo"

    code, _, errors = run("data", "demo", made, "--voices", "2", "--val-voices", "1", closed=closed)

    assert (code, errors) == (0, "")
    assert len(list(made.glob("train/*.npz"))) >= 2


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", r"Jos\xe9\u0142"), ("latin-1", r"José\u0142")]
)
def test_letters_that_the_encoding_lacks_are_escaped(tmp_path, encoding, shown):
    code, out, errors = run("data", "check", tmp_path / "Joséł", PYTHONIOENCODING=encoding)

    assert code == 3
    assert f"{shown}: no such folder" in out
    assert f"{shown}: 1 error" in errors
