"""What is refused before anything is packed or Ray starts."""

import re
from pathlib import Path

import pytest

from tests.tuning.conftest import TINY_SPACE
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.space import parse_space
from tune_encoder.tuning.start import start_search


def refused(tmp_path, changes):
    """Start a search that cannot run, on data that is not there either."""
    space = parse_space({**TINY_SPACE, **changes}, "test", Path())
    with pytest.raises((ConfigError, StorageError)) as refusal:
        start_search(space, tmp_path / "none", tmp_path / "runs", "tiny")
    assert not (tmp_path / "runs" / "tiny").exists()
    return str(refusal.value)


def test_more_cores_than_the_machine_has_are_refused(tmp_path):
    said = refused(tmp_path, {"resources": {"cpus": 999}})

    assert re.fullmatch(
        r"resources.cpus is 999, but this machine has \d+; lower it in the search space", said
    )
