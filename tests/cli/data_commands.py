"""Runs the commands of `data` as a person does."""

import pytest

from tune_encoder.cli import main


@pytest.fixture
def run(capsys):
    """Runs a command; returns its exit code, and the lines of its output and of its errors."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in ("data", *arguments)])
        told = capsys.readouterr()
        return ended.value.code, told.out.splitlines(), told.err.splitlines()

    return run
