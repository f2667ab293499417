from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.builders import MadeSearch
from tune_encoder.api.jobs.jobs import Job
from tune_encoder.api.shown import headline, jobs_box
from tune_encoder.api.watching import job_frames, show
from tune_encoder.experiment.folder import open_experiment
from tune_encoder.experiment.views import status


def job(name, root, state="SUCCEEDED", launch=1):
    ended = 160.0 if state == "SUCCEEDED" else None
    return Job(name, state, Path(root), launch, "search", 100.0, ended, 0, "")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    made = MadeSearch(tmp_path_factory.mktemp("runs"))
    made.trial([0.9, 0.4], "COMPLETE")
    return made.experiment.path.parent


def test_a_client_shows_its_searches_and_the_newest_that_can_be_read_from_here(root):
    jobs = [job("mine", root), job("<i>far</i>", "/nowhere", "RUNNING", 2)]

    page = jobs_box("http://127.0.0.1:8265", jobs)

    for part in ("<b>http://127.0.0.1:8265</b>", "1:00</td>", "0.600</td>", "<svg", "<b>mine</b>"):
        assert part in page
    assert "&lt;i&gt;far&lt;/i&gt;</td>" in page
    ElementTree.fromstring(f"<div>{page}</div>")


def test_a_client_without_searches_says_so():
    assert "<b>http://h:1</b>: no searches" in jobs_box("http://h:1", [])


def test_a_submitted_search_is_watched_until_its_job_has_ended(root, monkeypatch, capsys):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    far = "/nowhere"
    states = iter([job("mine", far, "PENDING"), job("mine", root, "RUNNING"), job("mine", root)])

    show(job_frames(lambda: next(states)))

    assert capsys.readouterr().out == (
        "mine: PENDING\nmine: stopped, 1 finished of 16, best skill 0.600\n"
    )


def test_markup_in_a_name_or_a_value_is_shown_as_it_is(root):
    view = status(open_experiment(root, "mine"))
    assert view["best"] is not None
    view["name"], view["best"]["settings"] = "<b>n", {"head": "<i>"}

    page = headline(view)

    assert "&lt;b&gt;n" in page
    assert "head &lt;i&gt;" in page
    assert "<i>" not in page
