"""What a search prints: lines of JSON, one line with its result, or a live view."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from tests.tuning.conftest import ENDED_S, Command
from tune_encoder.cli.guide import guides
from tune_encoder.experiment.status import trial_status

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

COLUMNS, LINES = 80, 24
GUIDE = guides()["searching"]
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
RUNNING_LINE = re.compile(
    r" {2}trial +\d+  epoch \d+/40  skill -?\d\.\d{3}  loss \d+\.\d{3}  end in "
)


@pytest.fixture(scope="module")
def command(tmp_path_factory, data_dir):
    command = Command(tmp_path_factory.mktemp("output"), data_dir)
    yield command
    command.close()


@pytest.fixture(scope="module")
def ended(command):
    """A search with --json-lines."""
    ended = command.run(*command.search_options(), "--json-lines")
    assert ended.returncode == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def lines(ended):
    return [json.loads(line, parse_constant=pytest.fail) for line in ended.stdout.splitlines()]


@pytest.fixture(scope="module")
def trials(ended, command):
    return {trial.number: trial for trial in command.experiment.trials()}


def of_kind(lines, event):
    return [line for line in lines if line["event"] == event]


def test_every_line_has_its_format_its_event_and_its_time(lines):
    assert {line["format"] for line in lines} == {1}
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    searched = [line["event"] for line in lines if line["event"] != "progress"]
    assert (searched[0], searched[-2:]) == ("start", ["saved", "end"])


def test_the_start_says_what_is_searched(lines, command):
    [start] = of_kind(lines, "start")

    expected = {"experiment": "tiny", "metric": "val_loss", "mode": "min", "trials_budget": 5,
                "epochs_per_trial": 6, "epochs": 0, "best": None}  # fmt: skip
    assert {name: start[name] for name in expected} == expected
    assert start["baseline"]["skill"] == max(
        each["skill"] for each in command.experiment.baselines().values()
    )


def test_the_epochs_are_those_of_the_record(lines, trials):
    told = {}
    for line in of_kind(lines, "epoch"):
        assert line["skill_se"] is not None
        told.setdefault(line["trial"], []).append([line["epoch"], line["val_loss"], line["skill"]])

    assert told == {
        number: [[row["epoch"], row["val_loss"], row["val_skill"]] for row in trial.rows]
        for number, trial in trials.items()
    }


def test_each_trial_starts_once_and_ends_once_as_in_the_record(lines, trials):
    started = {line["trial"]: line["settings"] for line in of_kind(lines, "trial_started")}
    states = {line["trial"]: line["state"] for line in of_kind(lines, "trial_ended")}

    assert len(of_kind(lines, "trial_started")) == len(of_kind(lines, "trial_ended")) == 5
    assert states == {
        number: trial_status(trial).replace(" ", "_") for number, trial in trials.items()
    }
    for number, settings in started.items():
        assert settings.items() <= trials[number].settings.items()
        assert set(settings) == {"learning_rate", "dropout"}


def test_each_best_is_better_than_the_one_before_and_the_last_is_that_of_the_record(lines, trials):
    bests = of_kind(lines, "best")
    values = [line["value"] for line in bests]

    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)
    row = min((row for trial in trials.values() for row in trial.rows), key=lambda r: r["val_loss"])
    assert (bests[-1]["epoch"], bests[-1]["value"]) == (row["epoch"], row["val_loss"])


def test_the_end_says_that_all_is_saved_and_what_was_found(lines, trials):
    [saved], [end] = of_kind(lines, "saved"), of_kind(lines, "end")

    assert (saved["trials_ended"], saved["resume"]) == (5, None)
    assert saved["epochs"] == sum(len(trial.rows) for trial in trials.values())
    assert (end["exit_code"], end["error"]) == (0, None)
    assert re.fullmatch(r"tiny: .*skill .*, trial \d epoch \d", end["result"])


def test_each_event_has_the_keys_that_the_guide_lists(lines):
    listed = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (.+) \|$", GUIDE.read_text(), re.MULTILINE))
    keys = {
        event: re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", row)) for event, row in listed.items()
    }

    for line in lines:
        own = {"experiment"} if line["event"] not in ("progress", "end") else set()
        assert set(line) == {"format", "event", "time", *own, *keys[line["event"]]}, line
    assert {line["event"] for line in lines} >= keys.keys() - {"progress", "exported", "report"}


def test_what_people_read_goes_to_standard_error(ended):
    assert "\nbest: trial " in ended.stderr
    assert "baseline ridge: " in ended.stderr


def test_a_search_that_is_there_already_is_an_end_with_its_error(ended, command):
    again = command.run(*command.search_options(), "--json-lines")

    [end] = [json.loads(line) for line in again.stdout.splitlines()]
    assert again.returncode == 2
    assert (end["event"], end["exit_code"], end["result"]) == ("end", 2, None)
    assert "exists; continue it with `tune-encoder resume tiny`" in end["error"]
    assert again.stderr == f"tune-encoder: {end['error']}\n"


def test_a_complete_search_resumed_quietly_prints_its_result_alone(ended, lines, command):
    again = command.run("resume", "tiny", "--no-export", "--quiet")

    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == f"{of_kind(lines, 'end')[0]['result']}\n"


# --- on a terminal -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown(command):
    """What a terminal of 80 columns shows of a resumed search; its trials outlast its refreshes."""
    longer = {"budget": {"trials": 1, "epochs": 40}, "scheduler": {"name": "none"}}
    first = command.run(*command.search_options(longer), "--name", "long")
    assert first.returncode == 0, first.stderr
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    search = subprocess.Popen(
        [sys.executable, "-m", "tune_encoder", "resume", "long", "--no-export", "--trials", "4"],
        cwd=command.folder, stdin=end, stdout=end, stderr=end,
        env={**os.environ, "TERM": "xterm", "PYTHONUTF8": "1"},
    )  # fmt: skip
    os.close(end)
    written = b""
    try:
        while chunk := os.read(terminal, 65536):
            written += chunk
    except OSError:  # the search has ended, and with it the other end
        os.close(terminal)
    assert search.wait(ENDED_S) == 0, written
    return written.decode()


def test_the_live_view_has_a_line_of_each_running_trial(shown):
    found = [line for line in _ESCAPE.sub("", shown).splitlines() if RUNNING_LINE.match(line)]

    numbers = {int(line.split()[1]) for line in found}
    assert numbers == {1, 2, 3}


def test_no_line_is_wider_than_the_terminal(shown):
    assert max(map(len, _ESCAPE.sub("", shown).splitlines())) <= COLUMNS


def test_the_live_view_is_drawn_in_place_and_leaves_the_last_state(shown):
    last = shown.rpartition("\x1b[2K")[2]  # after the last line that was erased

    assert shown.count("\x1b[2K") > 10
    assert re.match(r"trials  .* of 4\r\n", last)
    assert not [line for line in _ESCAPE.sub("", last).splitlines() if RUNNING_LINE.match(line)]
