"""A search that is started, watched, steered and exported in Chromium, and forms that refuse."""

import io
import json
import os
import signal
import time
import zipfile
from contextlib import closing, contextmanager

import pytest
import yaml
from optuna.trial import TrialState

from tests.report.conftest import made_search
from tests.serve.conftest import make_sleep, needs_browser, serving
from tests.serve.test_pages import LONG_MS, has_text
from tests.tuning.conftest import TINY_SPACE
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.folder import Experiment
from tune_encoder.serve.action_log import action_log_path
from tune_encoder.system.lock import lock_experiment, lock_holder, lock_process
from tune_encoder.tuning.record.study_file import StudyFile

pytestmark = [needs_browser, pytest.mark.timeout(180)]

BUTTONS = ["Pause", "Continue", "Stop", "Resume", "Add a config", "Stop a trial", "Confirm"]


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def agree(page, name, verb=None):
    """Choose an action, and agree in its dialog."""
    button(page, name).click(timeout=LONG_MS)
    dialog = page.get_by_role("dialog")
    button(dialog, verb or name).click(timeout=LONG_MS)


def field(page, name):
    return page.get_by_role("dialog").get_by_role("textbox", name=name, exact=True)


def wait_for(true, seconds=120):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


# --- a made-up search ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steered") / "runs"
    made_search(folder)
    return folder


@pytest.fixture(scope="module")
def steered(runs, cache):
    with serving(runs) as own:
        yield own


@pytest.fixture
def running(runs):
    """A search that a process runs which takes no requests."""
    with lock_experiment(runs / "mine"):
        yield Controls(Experiment(runs / "mine"))


def test_buttons_fit_the_state_and_each_asks_once(steered, running, open_tab):
    tab = open_tab("/e/mine", at=steered)
    page = tab.page

    assert [name for name in BUTTONS if button(page, name).is_visible()] == [
        "Pause", "Stop", "Add a config", "Stop a trial",
    ]  # fmt: skip
    button(page, "Pause").click()
    button(page, "Cancel").click()
    page.get_by_role("dialog").wait_for(state="detached", timeout=LONG_MS)
    assert not running.pause_requested()
    agree(page, "Pause")
    has_text(page, "mine pauses after the current epochs")
    assert running.pause_requested()
    agree(page, "Continue")
    has_text(page, "mine continues")
    assert not running.pause_requested()
    assert tab.complaints == []


def test_a_dialog_is_used_with_the_keyboard_alone(steered, running, open_tab):
    page = open_tab("/e/mine", at=steered).page
    button(page, "Stop").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    button(dialog, "Cancel").wait_for(timeout=LONG_MS)
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached", timeout=LONG_MS)
    assert not running.stop_requested()
    page.keyboard.press("Enter")  # the focus is back where it was
    button(dialog, "Stop").focus()
    page.keyboard.press("Enter")

    has_text(page, "mine stops after the current epochs")
    assert running.stop_requested()
    running.clear()


def test_a_form_refuses_in_the_words_of_the_command_line(steered, running, open_tab):
    tab = open_tab("/e/mine", at=steered)
    page = tab.page
    button(page, "Add a config").click()
    add = button(page.get_by_role("dialog"), "Add")
    add.click()
    has_text(page, "nothing is filled in; give at least one setting a value")
    for written, said in (
        ("0.7", "command line, start: dropout is 0.7, outside its range [0.0, 0.4]"),
        ("<b>", "command line, start: dropout is '<b>'; it must be a number from 0 to 0.9"),
    ):
        field(page, "dropout").fill(written)
        add.click()
        has_text(page, said)
    assert page.locator("main b, .q-dialog b").count() == 0
    assert list(running.take_added_configs()) == []
    assert tab.complaints == []


def test_a_field_appears_with_the_choice_it_depends_on(steered, running, open_tab):
    page = open_tab("/e/mine", at=steered).page
    button(page, "Add a config").click()
    assert not field(page, "pca_components").is_visible()
    page.get_by_role("combobox", name="head").click()
    page.get_by_role("option", name="pca").click()
    field(page, "pca_components").fill("16")
    field(page, "learning_rate").fill("2e-3")
    button(page.get_by_role("dialog"), "Add").click()

    has_text(page, "mine tries it next")
    (config,) = running.take_added_configs()
    assert config == {"head": "pca", "pca_components": 16, "learning_rate": 0.002}


def test_a_budget_that_is_smaller_is_refused_before_anything_starts(steered, open_tab, runs):
    page = open_tab("/e/mine", at=steered).page
    button(page, "Resume").click()
    for name, written, said in (
        ("epochs", "3", "command line: epochs is 3; it must be at least 9, for which trials"),
        ("epochs", "x", "epochs is 'x'; write a whole number"),
    ):
        field(page, name).fill(written)
        button(page.get_by_role("dialog"), "Resume").click()
        has_text(page, said)
    assert not (runs / ".page").exists()


def test_the_second_of_two_tabs_hears_that_a_trial_has_ended(runs, steered, open_tab):
    experiment = made_search(runs, name="twice")
    with lock_experiment(experiment.path):
        tabs = [open_tab("/e/twice/13", at=steered), open_tab("/e/twice/13", at=steered)]
        for tab in tabs:
            button(tab.page, "Stop this trial").click(timeout=LONG_MS)
        verbs = [button(tab.page.get_by_role("dialog"), "Stop the trial") for tab in tabs]
        verbs[0].click()
        has_text(tabs[0].page, "trial 13 stops after its current epoch")
        assert Controls(experiment).take_end_requests() == [13]
        end_trial(experiment, 13)
        verbs[1].click()
        has_text(
            tabs[1].page,
            "twice has no unfinished trial 13, as it has ended already; unfinished trials: none",
        )
        assert Controls(experiment).take_end_requests() == []
        for tab in tabs:
            button(tab.page, "Stop this trial").wait_for(state="hidden", timeout=LONG_MS)


def end_trial(experiment, number):
    with closing(StudyFile(experiment.study_path)) as file:
        file.write(lambda study: study.end(number, TrialState.PRUNED, None))


def test_a_page_that_is_read_only_shows_no_action(runs, open_tab):
    with (
        serving(runs, "--read-only") as own,
        lock_experiment(runs / "mine"),
    ):
        for path in ("/", "/e/mine", "/e/mine/13"):
            page = open_tab(path, at=own).page
            names = page.get_by_role("button").all_inner_texts()
            assert not {*names} & {*BUTTONS, "Export", "Report", "Stop this trial"}
            assert page.get_by_role("link", name="New search").count() == 0
        page = open_tab("/start", at=own).page
        has_text(page, "this page only shows searches; start `tune-encoder serve` without")
        assert page.get_by_role("button").count() == 0


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"name": "mine"}, "/mine exists; continue it with `tune-encoder resume mine"),
        ({"name": "a b"}, "the experiment name 'a b' is not valid; use up to 64 letters"),
        ({"trials": "-1"}, "command line, budget: trials is -1"),
        ({"trials": "many"}, "trials is 'many'; write a whole number"),
        ({"name": ""}, "the name is missing; write it"),
    ],
)
def test_a_search_that_is_not_possible_is_not_started(steered, open_tab, written, said):
    page = open_tab("/start", at=steered).page
    for name, value in written.items():
        page.get_by_role("textbox", name=name, exact=True).fill(value)
    button(page, "Check data and plan").click()

    has_text(page, said)
    assert button(page, "Start").is_disabled()


def is_alive(told):
    try:
        os.kill(int(told.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_a_check_ends_with_its_page_and_with_the_server(tmp_path, monkeypatch, cache, open_tab):
    told = make_sleep(tmp_path, monkeypatch, "plan")
    with serving(tmp_path) as own:
        for _ in range(2):
            told.unlink(missing_ok=True)
            page = open_tab("/start", at=own).page
            button(page, "Check data and plan").click()
            wait_for(lambda: told.exists() and told.read_text())
            has_text(page, "of up to")  # the plan, with which the search can be started
            assert button(page, "Start").is_enabled()
        assert is_alive(told)
        assert own.stop() == (0, "")
    wait_for(lambda: not is_alive(told))


def test_an_error_is_said_on_the_page_if_the_dialog_was_closed_before(steered, runs, open_tab):
    page = open_tab("/e/mine", at=steered).page
    log = action_log_path()
    log.unlink(missing_ok=True)
    with lock_experiment(runs / "mine"):
        button(page, "Pause").click(timeout=LONG_MS)
        os.mkfifo(log)  # the action waits until somebody reads its log
        dialog = page.get_by_role("dialog")
        button(dialog, "Pause").click()
        button(dialog, "Cancel").click()
        dialog.wait_for(state="detached", timeout=LONG_MS)
    with closing(os.fdopen(os.open(log, os.O_RDONLY | os.O_NONBLOCK))):
        log.unlink()
        has_text(page, "mine: is not running; resume it")


def test_no_dialog_is_wider_than_a_phone(steered, running, open_tab):
    page = open_tab("/e/mine", at=steered, width=400).page
    button(page, "Add a config").click()
    box = page.locator(".dialog").bounding_box(timeout=LONG_MS)

    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 400
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


# --- a search that runs --------------------------------------------------------------------------


@contextmanager
def ended_at_last(experiment):
    """Whatever happens, no search is left running."""
    try:
        yield
    finally:
        process = lock_process(experiment.path) if experiment.path.exists() else None
        if process is not None and process["pid"]:
            os.kill(process["pid"], signal.SIGTERM)
            wait_for(lambda: lock_holder(experiment.path) is None)


def state_of(experiment, number):
    return {trial.number: trial.state for trial in experiment.trials(())}.get(number)


def n_rows(experiment):
    return sum(len(trial.rows) for trial in experiment.trials(()))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_from_its_start_to_its_export(tmp_path, data_dir, cache, open_tab):
    budget = {"budget": {"trials": 2, "epochs": 400}, "scheduler": {"name": "none"}}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({**TINY_SPACE, **budget}))
    root = tmp_path / "runs"
    root.mkdir()
    tiny = Experiment(root / "tiny")
    with ended_at_last(tiny), serving(root) as own:
        tab = open_tab("/start", at=own)
        page = tab.page
        page.set_default_timeout(2 * LONG_MS)
        start_search(page, tmp_path / "space.yaml", data_dir)
        page.wait_for_url("**/e/tiny")
        has_text(page, "running")
        wait_for(lambda: n_rows(tiny) > 3)
        process = lock_process(tiny.path)
        assert process is not None
        assert process["pid"] is not None
        assert os.getsid(process["pid"]) == process["pid"]

        agree(page, "Pause")
        button(page, "Continue").wait_for()
        agree(page, "Continue")
        button(page, "Add a config").click()
        field(page, "dropout").fill("0.25")
        button(page.get_by_role("dialog"), "Add").click()
        has_text(page, "tiny tries it next")
        agree(page, "Stop a trial", "Stop the trial")
        wait_for(lambda: state_of(tiny, 0) == "PRUNED")
        # The search outlives its page and its server.
        own.kill()
        seen = n_rows(tiny)
        wait_for(lambda: n_rows(tiny) > seen)
        assert lock_process(tiny.path) == process
        with serving(root, port=own.port) as second:
            tab = open_tab("/e/tiny", at=second)
            stop_resume_and_export(tab.page, tiny)
            assert tab.complaints == []
            check_archive(tab, second)
    lines = [json.loads(line) for line in action_log_path().read_text().splitlines()]
    done = [line["action"] for line in lines if line["root"] == str(root)]
    assert done[0].startswith("search --space=")
    assert done[1:] == [
        *(f"tiny: {each}" for each in ("pause", "continue", "add dropout=0.25", "kill-trial 0")),
        *(f"tiny: {each}" for each in ("stop", "resume --trials=3 --no-export", "stop", "export")),
    ]


def start_search(page, space, data_dir):
    page.get_by_role("combobox", name="search space").click()
    page.get_by_role("option", name="a file").click()
    page.get_by_role("textbox", name="path of the space").fill(str(space))
    page.get_by_role("combobox", name="data", exact=True).click()
    page.get_by_role("option", name="a folder").click()
    page.get_by_role("textbox", name="path of the data").fill(str(data_dir))
    page.get_by_role("textbox", name="name", exact=True).fill("tiny")
    page.get_by_role("checkbox", name="export the best model at the end").click()
    button(page, "Check data and plan").click()
    has_text(page, "an epoch: ")  # of the data check
    has_text(page, "2 of up to 400 epochs")
    agree(page, "Start")


def stop_resume_and_export(page, tiny):
    page.set_default_timeout(2 * LONG_MS)
    agree(page, "Stop")
    has_text(page, "search: ended")
    button(page, "Resume").click()
    field(page, "trials").fill("3")
    page.get_by_role("checkbox", name="export the best model at the end").click()
    button(page.get_by_role("dialog"), "Resume").click()
    has_text(page, "resume of tiny has started; its output is below")
    wait_for(lambda: lock_holder(tiny.path) is not None)
    seen = n_rows(tiny)
    wait_for(lambda: n_rows(tiny) > seen)
    agree(page, "Stop")
    has_text(page, "resume: done")
    agree(page, "Export")
    has_text(page, "export: done")


def check_archive(tab, server):
    link = tab.page.get_by_role("link", name="Download the model")
    link.wait_for()
    with tab.page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == "tiny.zip"
    content = download.value.path().read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {"tiny/model.safetensors", "tiny/provenance.json"} <= {*archive.namelist()}
