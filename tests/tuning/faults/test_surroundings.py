"""What is odd about the place where a search runs: its exit code, and what is said."""

import pytest

from tests.tuning.conftest import Command
from tests.tuning.faults.surroundings import SURROUNDINGS, Surroundings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
QUICK = [row for row in SURROUNDINGS if row.in_suite]


@pytest.mark.parametrize("row", QUICK, ids=[row.what for row in QUICK])
def test_a_search_ends_with_its_code_and_a_line_wherever_it_runs(
    command: Command, row: Surroundings
) -> None:
    met = row.meet(command)

    assert met.exit_code == row.exit_code, met.errors
    assert row.said in met.errors
    assert "Traceback" not in met.errors
    assert met.problems == []
    made = [] if met.exit_code == 0 else [*command.folder.glob("runs/*")]
    assert made == []  # what is refused makes nothing
