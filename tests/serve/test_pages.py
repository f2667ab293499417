"""The pages in Chromium, as a person sees them."""

import re
from typing import Any

import pytest

from tests.builders import MadeSearch
from tests.ports import own_port
from tests.report.conftest import CONTENT, SPACE, Clock, made_search
from tests.serve.conftest import BROKEN, needs_browser, serving
from tune_encoder.space import parse_space
from tune_encoder.system.lock import lock_experiment

pytestmark = [needs_browser, pytest.mark.timeout(180)]
LONG_MS = 60_000  # a browser on a busy machine


def has_text(page, text):
    page.get_by_text(text).first.wait_for(timeout=LONG_MS)


def options(page, title):
    """What ECharts has drawn in the chart of that title."""
    script = """(title) => {
      const chart = document.querySelector(`[aria-label="${title}"]`);
      return getElement(+chart.id.slice(1)).chart.getOption();
    }"""
    page.wait_for_selector(f'[aria-label="{title}"] canvas', timeout=LONG_MS)
    return page.evaluate(script, title)


def test_all_experiments_are_listed_and_a_broken_one_with_its_reason(open_tab):
    tab = open_tab()
    cards = tab.page.locator("article").all_inner_texts()

    assert len(cards) == 3
    assert "unreadable" in cards[0]
    assert f"{BROKEN}/study.db: cannot be read (file is not a database); rebuild" in cards[0]
    assert re.search(r"mine\s+stopped\s+progress\s+13 of 15 trials\s+best\s+skill 0.580", cards[1])
    assert tab.complaints == []


def test_an_empty_root_says_what_to_do(tmp_path, chromium, open_tab):
    with serving(tmp_path) as own:
        tab = open_tab(at=own)

        has_text(tab.page, f"start one with `tune-encoder search --root {tmp_path}`")


def test_an_experiment_has_all_figures_and_a_table_that_sorts_and_filters(open_tab):
    tab = open_tab("/e/mine")
    page = tab.page

    titles = page.locator("h3").all_inner_texts()
    assert titles[:3] == ["Learning curves", "Best so far, over epochs", "Best so far, over time"]
    assert {"Parallel coordinates", "learning_rate", "Timeline of workers"} <= {*titles}
    curves = options(page, "Learning curves")["series"]
    assert sum(each["id"].startswith("trial-") for each in curves) == 13
    (rungs,) = [each for each in curves if each["id"] == "rungs"]
    assert [each["xAxis"] for each in rungs["markLine"]["data"]] == [1, 3]
    assert len(options(page, "Timeline of workers")["series"][0]["data"]) == 13
    first = page.locator(".ag-pinned-left-cols-container [row-index='0']")
    assert first.inner_text() == "3"  # the best
    page.locator(".ag-header-cell[col-id=trial] .ag-header-cell-label").click()
    page.wait_for_function(
        "document.querySelector(\".ag-pinned-left-cols-container [row-index='0']\").innerText==='0'"
    )
    page.locator("[aria-label='state Filter Input']").fill("failed")
    page.wait_for_function(
        "document.querySelectorAll('.ag-center-cols-container .ag-row').length === 2"
    )
    assert tab.complaints == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_importance_appears_after_a_moment(open_tab):
    tab = open_tab("/e/mine")
    script = """() => getElement(+document.querySelector('[aria-label="Importance of settings"]')
        .id.slice(1)).chart?.getOption().series.length"""

    tab.page.wait_for_function(script, timeout=5 * LONG_MS)  # Optuna is loaded at a low priority
    assert options(tab.page, "Importance of settings")["series"][0]["type"] == "bar"


def test_a_drag_along_an_axis_of_the_parallel_coordinates_chooses_trials(open_tab):
    page = open_tab("/e/mine").page
    options(page, "Parallel coordinates")
    chart = page.locator('[aria-label="Parallel coordinates"]')
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    # The first axis is a line across, 16 pixels below the top.
    page.mouse.move(box["x"] + 150, box["y"] + 16)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 16, steps=5)
    page.mouse.up()

    script = """(place) => getElement(+place.id.slice(1)).chart.getModel()
        .getComponent("parallelAxis", 0).activeIntervals.length"""
    assert chart.evaluate(script) == 1


def test_markup_in_reasons_is_shown_as_text(open_tab):
    tab = open_tab("/e/mine/4")
    page = tab.page

    has_text(page, "TrainingDiverged: <script>alert('boo')</script> & the loss is nan")
    assert page.locator("main script").count() == 0
    tab.open("/e/mine")
    page.locator("[aria-label='state Filter Input']").fill("failed")
    page.locator(".trials .ag-center-cols-viewport").evaluate("(each) => each.scrollLeft = 9999")
    has_text(page, "<script>alert('boo')</script>")
    assert tab.complaints == []


def test_the_page_of_a_trial_has_settings_curve_epochs_and_checkpoints(open_tab):
    tab = open_tab("/e/mine/3")
    page = tab.page

    has_text(page, "trial 3 finished after 9 of 9 epochs, skill 0.580")
    words = page.locator("table").first.inner_text().split()
    assert words[2:5] == ["learning_rate", "0.01", "searched"]
    values = [each["value"] for each in options(page, "Curve")["series"][0]["data"]]
    assert values[0] == [1, 0.9]
    assert len(values) == 9
    has_text(page, "None is stored.")
    assert tab.complaints == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/e/yours", "no such experiment; there are broken, mine, other"),
        ("/e/broken", "cannot be read (file is not a database)"),
        ("/e/mine/99", "no trial 99; there are 14, from 0 to 13"),
        ("/e/mine/x", "x: not the number of a trial"),
        ("/compare?name=mine", "1 experiment to compare; choose 2 to 5"),
    ],
)
def test_what_is_not_there_is_said_in_a_line(open_tab, path, said):
    tab = open_tab(path)

    assert said in tab.page.locator(".problem").inner_text()
    assert tab.complaints == []


def test_two_experiments_are_compared_with_the_keyboard_alone(open_tab):
    tab = open_tab()
    page = tab.page
    for name in ("mine", "other"):
        page.get_by_label(f"compare {name}").focus()
        page.keyboard.press("Space")
    page.get_by_role("button", name="Compare 2").focus()
    page.keyboard.press("Enter")

    has_text(page, "the data differ, so the scores are not comparable")
    assert [each["id"] for each in options(page, "Best so far")["series"]] == ["mine", "other"]
    assert tab.complaints == []


@pytest.mark.parametrize("path", ["/", "/e/mine", "/e/mine/4", "/compare?name=mine&name=other"])
def test_no_page_is_wider_than_a_phone(open_tab, path):
    tab = open_tab(path, width=400)
    tab.page.wait_for_timeout(500)

    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 400
    assert tab.complaints == []


class Running:
    """A search whose epochs are written while its page is open, as a search writes them."""

    def __init__(self, root, name="live", **more):
        space = parse_space({**CONTENT, "budget": {"trials": 2, "epochs": 3}}, "test", root)
        clock = Clock(SPACE)
        self.row_of: Any = lambda *of: {**clock(*of), **more}
        self.made = MadeSearch(root, space, name, row_of=self.row_of)
        self.number = self.made.trial([0.9])

    def epoch(self, epoch, value):
        self.made.record.add_row(self.number, self.row_of(self.number, epoch, value))


def n_points(page, count):
    page.wait_for_function(
        """(count) => {
          const place = document.querySelector('[aria-label="Learning curves"]');
          const series = place && getElement(+place.id.slice(1)).chart?.getOption().series;
          return series?.some((each) => each.data.length === count);
        }""",
        arg=count,
        timeout=LONG_MS,
    )


@pytest.fixture(scope="module")
def living(tmp_path_factory, cache):
    """A server of searches that tests make while it runs, each with a name of its own."""
    with serving(tmp_path_factory.mktemp("living")) as own:
        yield own


def test_names_in_a_foreign_record_are_no_code(living, open_tab):
    foreign: Any = {":foreign": "window.ran = 1", "more": {":x": "window.ran = 2"}}
    running = Running(living.root, "foreign", **foreign)
    tab = open_tab(f"/e/foreign/{running.number}", at=living)
    rows = tab.page.locator(".epochs .ag-center-cols-container .ag-row")
    rows.nth(0).wait_for(timeout=LONG_MS)
    running.epoch(2, 0.8)
    rows.nth(1).wait_for(timeout=LONG_MS)

    has_text(tab.page, ":foreign")
    assert tab.page.evaluate("window.ran") is None
    assert tab.complaints == []


def test_a_comparison_says_that_no_setting_differs(living, open_tab):
    for name in ("one", "twin"):
        made_search(living.root, name=name)

    page = open_tab("/compare?name=one&name=twin", at=living).page

    has_text(page, "None.")
    assert page.get_by_label("settings that differ").count() == 0


def test_a_comparison_shows_new_epochs(living, open_tab):
    running = Running(living.root, "compared")
    made_search(living.root, name="ended")
    page = open_tab("/compare?name=compared&name=ended", at=living).page
    results = page.get_by_label("results")
    results.get_by_text("skill 0.100").wait_for(timeout=LONG_MS)
    running.epoch(2, 0.8)

    results.get_by_text("skill 0.200").wait_for(timeout=LONG_MS)
    assert results.locator("tr").nth(3).inner_text().split() == ["epochs", "2", "45"]


def test_a_trial_can_be_stopped_only_while_its_search_runs(living, open_tab):
    running = Running(living.root, "stopping")
    page = open_tab(f"/e/stopping/{running.number}", at=living).page
    stop = page.get_by_text("Stop this trial")
    has_text(page, "it continues at the next resume")
    assert not stop.is_visible()
    with lock_experiment(running.made.experiment.path):
        stop.wait_for(timeout=LONG_MS)
    stop.wait_for(state="hidden", timeout=LONG_MS)


def test_an_experiment_that_can_be_read_again_has_its_link_and_values(tmp_path, open_tab):
    record = made_search(tmp_path).study_path
    good = record.read_bytes()
    record.write_bytes(b"not a database at all " * 1000)
    with serving(tmp_path) as own:
        page = open_tab("/", at=own).page
        has_text(page, "unreadable")
        assert page.get_by_role("link", name="mine").count() == 0
        record.write_bytes(good)

        page.get_by_role("link", name="mine").wait_for(timeout=LONG_MS)
        has_text(page, "13 of 15 trials")


def test_two_pages_show_new_epochs_and_the_end_of_a_search(living, open_tab):
    running = Running(living.root)
    path = running.made.experiment.path
    with lock_experiment(path):
        tabs = [open_tab("/e/live", at=living), open_tab("/e/live", at=living)]
        overview = open_tab("/", at=living)
        has_text(overview.page, "1 running")
        running.epoch(2, 0.8)
        for tab in tabs:
            n_points(tab.page, 2)
            has_text(tab.page, "skill 0.200, trial 0 epoch 2")
        running.epoch(3, 0.7)
        running.made.record.complete(running.number)
        second = running.made.trial([0.95], "PRUNED")
        for tab in tabs:
            has_text(tab.page, "1 finished, 1 stopped early of 2")
            tab.page.locator(f"a[href$='/e/live/{second}']").wait_for(timeout=LONG_MS)
    for tab in tabs:
        tab.page.locator(".state.finished").wait_for(timeout=LONG_MS)
    has_text(overview.page, "0 running")
    assert [tab.complaints for tab in tabs] == [[], []]


def test_an_open_page_outlives_its_server(tmp_path, open_tab):
    running = Running(tmp_path)
    port = own_port()
    with serving(tmp_path, port=port) as first:
        tab = open_tab("/e/live", at=first)
        n_points(tab.page, 1)
        first.kill()
    with serving(tmp_path, port=port) as second:
        assert second.link == first.link
        running.epoch(2, 0.8)

        n_points(tab.page, 2)
        has_text(tab.page, "skill 0.200, trial 0 epoch 2")
        stale = tab.page.goto(f"{second.base}/?token={'x' * 43}")
        assert stale is not None
        assert stale.status == 200  # the cookie opens it
