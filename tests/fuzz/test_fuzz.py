"""A fixed seed of every kind of mutation; `python -m tests.benchmarks.fuzz` runs any number."""

import pytest

from tests.fuzz.kinds import NAMES, Scene
from tests.fuzz.running import run_cases

CASES = {
    "npz": 1400, "yaml": 180, "arguments": 80, "checkpoint": 130, "style": 120, "model": 50,
    "study": 40,
}  # fmt: skip


@pytest.mark.timeout(60, method="thread")  # the other method needs the timer of the cases
@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_read_is_refused_in_a_line_or_read_as_what_it_is(
    data_dir, model_dir, tmp_path, name
):
    kind = Scene(data_dir, model_dir).kind(name, tmp_path / name)

    tally = run_cases(name, kind, 0, range(CASES[name]))

    assert tally.failures == []
    assert tally.cases == CASES[name]
    assert min(tally.refused, tally.read) > 0  # the cases are neither all broken nor all whole
