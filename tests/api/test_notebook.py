"""The notebook of the guides, and what a notebook shows, in a real kernel."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import tune_encoder

NOTEBOOK = Path(tune_encoder.__file__).parent / "guides" / "notebook.ipynb"
ROOT = Path(tune_encoder.__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # Of nbclient and the kernel's client, whose event loops and sockets end with the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The cells of the notebook after they ran in an empty folder."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("JUPYTER_DATA_DIR", str(folder / "jupyter"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        client = NotebookClient(notebook, timeout=500, resources={"metadata": {"path": folder}})
        try:
            client.execute()
        except CellExecutionError as error:
            pytest.fail(str(error))
    return folder, [cell for cell in notebook.cells if cell.cell_type == "code"]


def output_of(cells, source, kind):
    """What a cell with this source showed, as data of a kind."""
    cell = next(cell for cell in cells if source in cell.source)
    found = [each.data[kind] for each in cell.outputs if kind in each.get("data", {})]
    assert found, cell.outputs
    return found[-1]


def test_the_notebook_of_the_guides_runs_from_demo_voices_to_a_clone(ran):
    folder, cells = ran

    assert (folder / "voice.json").is_file()
    assert "PosixPath('voice.json')" in output_of(cells, "cloned.out", "text/plain")
    assert "'model'" in output_of(cells, "tune_encoder.evaluate", "text/plain")


def test_a_cell_that_ends_with_an_experiment_shows_headline_curves_and_trials(ran):
    whole = next(c for c in ran[1] if c.source == "found").outputs[0].data["text/html"]

    for part in ("<b>notebook</b>: finished", "trials  ", "<svg", "<table", "learning_rate"):
        assert part in whole


def test_a_figure_is_shown_although_nothing_imported_pyplot(ran):
    for name in ("parallel", "slices"):
        assert output_of(ran[1], f'plot("{name}")', "image/png")


def test_watch_draws_in_the_notebook_and_ends_with_the_search(ran):
    cell = next(cell for cell in ran[1] if "found.watch()" in cell.source)
    views = [each for each in cell.outputs if "<svg" in each.get("data", {}).get("text/html", "")]

    assert len(views) == 1
    assert "notebook: finished" in views[0].data["text/plain"]
