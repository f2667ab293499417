"""The page as a whole: what stands in it, and that a browser shows it."""

import dataclasses
import itertools
import re

import pytest

from tests.builders import new_experiment
from tests.report.browser import Tags, browse, needs_browser, probe
from tests.report.conftest import SHOCK, SPACE, TRIALS, linear, made_search, marks
from tune_encoder.errors import StorageError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.report import write_report
from tune_encoder.report.contents import read_contents
from tune_encoder.report.facts import read_facts
from tune_encoder.report.headline import headline
from tune_encoder.report.page import render
from tune_encoder.report.scores import scores
from tune_encoder.report.winner import evaluate_winner
from tune_encoder.system.lock import lock_experiment


@pytest.fixture(scope="module")
def text(contents):
    return render(contents)


@pytest.fixture(scope="module")
def figures(contents):
    return [figure for section in contents.sections for figure in section.figures]


# --- what stands in it ---------------------------------------------------------------------------


def test_nothing_is_loaded_from_anywhere(text):
    page = Tags(text)

    assert all(address.startswith(("#", "data:")) for address in page.addresses())
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    (policy,) = [each for each in page.all("meta") if "http-equiv" in each]
    assert policy["content"].startswith("default-src 'none'; img-src data:; media-src data:")


def test_what_a_person_wrote_is_shown_and_never_run(text):
    assert SHOCK not in text
    assert "&lt;script&gt;alert(" in text
    assert len(Tags(text).all("script")) == 1


def test_every_figure_has_its_summary_and_its_data(text, figures):
    page = Tags(text)

    images = {each["aria-label"] for each in page.all("div") if each.get("role") == "img"}
    assert images == {f"{figure.title}. {figure.summary}" for figure in figures}
    assert len(page.all("figure")) == len(figures)
    tables = [figure for figure in figures if figure.table]
    assert text.count("<summary>Show the data</summary>") == len(tables)
    assert {figure.key for figure in figures} - {figure.key for figure in tables} == {"parallel"}


def test_names_within_the_page_are_unique_and_all_that_is_referred_to_is_there(text):
    names = [each["id"] for _, each in Tags(text).found if "id" in each]

    assert len(names) == len(set(names))
    referred = set(re.findall(r'(?:href="|url\()#([\w.-]+)', text))
    assert referred <= set(names)


def test_headings_go_down_by_one(text):
    levels = [int(tag[1]) for tag, _ in Tags(text).found if re.fullmatch(r"h[1-6]", tag)]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_pictures_and_sounds_have_words(text):
    page = Tags(text)

    assert len(page.all("img")) == len(page.all("audio")) == 8
    assert all(each["alt"] for each in page.all("img"))
    assert all(each["aria-label"] for each in page.all("audio"))


def test_the_headline_the_config_and_the_commands_are_there(text, trained):
    assert "Trial 3, epoch 9 is the best. On the test voices it has a new-voice skill of" in text
    assert "learning_rate of the best trial is 0.01, at the upper bound of its range" in text
    assert "learning_rate: 0.01" in text
    assert "It was trained with one seed" in text
    assert f"tune-encoder resume mine --root {trained.path.parent}" in text
    assert "rank correlation of epoch 1 with 3" in text


def evaluated(trained, data):
    """The headline of a search whose winner was evaluated on other data."""
    facts = read_facts(trained)
    found = scores(facts, data, evaluate_winner(facts, data))
    return headline(facts, found, None, None)


def test_the_interval_over_voices_is_told_where_it_is_true(trained, packed):
    few = dataclasses.replace(
        packed.test, **{name: getattr(packed.test, name)[:4] for name in ("style_ids", "voices")}
    )
    known = {**packed.info, "voice_kinds": {"val": "new", "test": "known"}}

    true = evaluated(trained, packed).noise
    too_few = evaluated(trained, dataclasses.replace(packed, test=few)).noise
    shared = evaluated(trained, dataclasses.replace(packed, info=known))

    assert re.match(
        r"New-voice skill: 95 % between -?\d+\.\d+ and -?\d+\.\d+, over voices\. ", true
    )
    assert too_few.startswith(
        "New-voice skill: too few voices for an interval, which needs at least 5. It was trained"
    )
    assert shared.noise.startswith(
        "Known-voice skill: no interval, since it shares voices with train: it says nothing of "
        "other voices. It was trained"
    )
    assert "it has a known-voice skill of" in shared.verdict
    assert shared.cards[0][0] == "known-voice skill"


@pytest.mark.parametrize(
    ("lead", "words"), [(0.0004, "equals"), (0.001, "beats"), (-0.001, "does not beat")]
)
def test_a_lead_that_no_digit_shows_beats_no_baseline(trained, packed, lead, words):
    facts = read_facts(trained)
    found = scores(facts, packed, evaluate_winner(facts, packed))
    *baselines, winner = found.bars
    skill = max(bar.skill for bar in baselines) + lead
    led = found._replace(bars=[*baselines, winner._replace(skill=skill)])

    verdict = headline(facts, led, None, None).verdict

    assert f"{skill:.3f}, which {words} the strongest baseline" in verdict


def test_a_winner_below_a_baseline_and_the_mean_voice_is_said_to_be(trained, packed):
    verdict = evaluated(trained, packed).verdict

    assert re.search(
        r"skill of -\d+\.\d+, which does not beat the strongest baseline \((ridge|statistics), "
        r"0\.\d+\); the mean voice would have been better\.$",
        verdict,
    )


# --- searches that are not done ------------------------------------------------------------------


def test_a_search_that_runs_says_so(made):
    with lock_experiment(made.path):
        text = render(read_contents(made))

    assert (
        "The search is still running: this report shows its state at the time of writing." in text
    )
    assert f"tune-encoder status mine --root {made.path.parent} --watch" in text
    assert f"tune-encoder stop mine --root {made.path.parent}" in text


def test_before_the_first_trial_the_page_says_so(tmp_path):
    new = new_experiment(tmp_path, "new", SPACE)

    text = render(read_contents(new))

    assert "No trial has started yet." in text
    assert text.count("No trial has a result yet.") >= 3
    assert "tune-encoder resume new" in text


def test_if_all_trials_failed_the_reasons_are_shown(tmp_path):
    found = made_search(tmp_path, [("FAIL", linear(0.001, 0.1), [], SHOCK)] * 3)

    contents = read_contents(found)

    assert contents.headline.verdict == (
        "3 trials failed and none has a result; see the reasons below."
    )
    (section,) = [each for each in contents.sections if each.key == "failures"]
    assert section.text == "3 of 3 trials failed."
    assert "&lt;script&gt;alert(" in render(contents)


def test_data_that_is_gone_leaves_the_rest(made):
    contents = read_contents(made)

    (section,) = [each for each in contents.sections if each.key == "winner"]
    assert "/gone" in section.notes[0]
    assert "is the best" in contents.headline.verdict
    assert contents.sections[1].figures[0].svg


# --- other searches, further seeds ---------------------------------------------------------------


def test_searches_are_compared(tmp_path):
    mine = made_search(tmp_path, fingerprint="1")
    other = made_search(tmp_path, TRIALS[:4], name="other", fingerprint="2")

    section = read_contents(mine, [other]).sections[-1]

    assert section.title == "Comparison with other searches"
    (figure,) = section.figures
    assert len(marks(figure)) == 2
    assert "mine: skill 0.580 after" in figure.summary
    assert "other: skill 0.580 after 22 epochs" in figure.summary
    assert section.notes == ["the data differ, so the scores are not comparable"]


def test_further_seeds_show_the_noise(tmp_path):
    found = made_search(tmp_path)
    config = TRIALS[3][1]
    again = [("COMPLETE", {**config, "seed": seed}, [0.5 + 0.01 * seed]) for seed in (1, 2, 3)]
    from tune_encoder.tuning.confirm import confirmation_space

    space = confirmation_space(found, {3: config}, 3)
    (found.path / "confirm").mkdir()
    made_search(found.path / "confirm", again, space, name="top1x3")

    top = read_contents(found).headline

    assert top.noise.endswith("Over further seeds: only one config, nothing to compare.")
    assert top.confirmed is not None
    assert top.confirmed.rows == [["3", "0.48", "0.01", "0.47", "0.49", "3"]]


# --- writing -------------------------------------------------------------------------------------


def test_the_report_lies_in_the_experiment_or_where_it_was_asked_for(made, tmp_path):
    assert write_report(made) == made.path / "report.html"
    assert write_report(made, tmp_path / "new" / "page.html").read_text().endswith("</html>")


def test_a_folder_is_no_place_for_a_report(made, tmp_path):
    with pytest.raises(StorageError, match=r"is a folder; name a file, such as .*report\.html"):
        write_report(made, tmp_path)


def test_a_place_that_cannot_be_written_is_named(made, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match=r"file/page\.html: cannot be written \(.*\); name"):
        write_report(made, tmp_path / "file" / "page.html")


# --- in a browser --------------------------------------------------------------------------------

# The page measures itself as it is shown.
PROBE = """<script>
const shown = [...document.querySelectorAll("figure")].map((figure) => {
  const svg = figure.querySelector("svg").getBoundingClientRect();
  const marks = [...figure.querySelectorAll(".mark")];
  const drawn = marks.filter((mark) => {
    const box = mark.getBoundingClientRect();
    return box.width + box.height > 0 && box.left >= svg.left - 8 && box.right <= svg.right + 8;
  });
  return [figure.id, svg.width, svg.height, marks.length, drawn.length];
});
const mark = document.querySelector("#curves .mark");
mark.dispatchEvent(new PointerEvent("pointerover", { bubbles: true, clientX: 5, clientY: 5 }));
parent.postMessage(JSON.stringify({
  shown,
  tip: document.getElementById("tip").textContent,
  lit: document.querySelectorAll(".lit").length,
  width: innerWidth, wide: document.documentElement.scrollWidth,
}), "*");
</script>"""


@needs_browser
@pytest.mark.timeout(120)
def test_a_browser_shows_the_page_without_a_complaint(trained, figures, tmp_path):
    page, complaints = browse(write_report(trained, tmp_path / "page.html"))

    assert complaints == []
    n_marks = sum(len(marks(figure)) for figure in figures)
    assert page.count('data-tip="') == n_marks  # so the script ran, policy and all


@needs_browser
@pytest.mark.timeout(120)
@pytest.mark.parametrize("width", [1400, 400])
def test_every_figure_is_drawn_and_nothing_is_wider_than_the_window(text, figures, tmp_path, width):
    seen, complaints = probe(text, PROBE, width, tmp_path)

    assert complaints == []
    assert seen["wide"] <= seen["width"] == width
    assert [each[0] for each in seen["shown"]] == [figure.key for figure in figures]
    for (key, across, down, n_marks, n_drawn), figure in zip(seen["shown"], figures, strict=True):
        assert across > 300, key
        assert down > 80, key
        assert n_marks == n_drawn == len(marks(figure)), key
    assert seen["tip"].startswith("trial ")
    assert seen["lit"] > 1  # the same trial in several figures


def test_a_page_is_the_same_each_time(trained, text):
    def without_time(page):
        return re.sub(r"Written [\d: -]+", "", page)

    again = render(read_contents(Experiment(trained.path)))

    assert without_time(again) == without_time(text)
