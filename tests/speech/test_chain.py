"""From nothing to a clone that can be heard: each command as a person types it."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

pytestmark = [pytest.mark.weights, pytest.mark.slow, pytest.mark.timeout(300)]

SPACE = {
    "budget": {"trials": 3, "epochs": 4},
    "scheduler": {"name": "none"},
    "base": {"hidden_dim": 32, "num_layers": 2, "warmup_epochs": 0.5, "use_tensorboard": False},
    "space": {"learning_rate": {"float": [2e-3, 8e-3], "log": True}},
}


@pytest.fixture(scope="module")
def chain(stand_in, spoken, tmp_path_factory):
    """The output of each command, by its name."""
    folder = tmp_path_factory.mktemp("chain")
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    recording, models = spoken / "F2.wav", ["--model-dir", str(stand_in)]

    def run(words, *more):
        command = [sys.executable, "-m", "tune_encoder", *words.split(), *more]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    sizes = "--voices 120 --clips-per-voice 1 --steps 5"
    return SimpleNamespace(
        folder=folder,
        generated=run(f"data generate voices {sizes}", *models),
        checked=run("data check voices"),
        searched=run("search --space space.yaml --data-dir voices --name mine"),
        cloned=run("clone runs/mine/best -o f2.json", str(recording)),
        heard=run("listen runs/mine/best -o page.html", str(recording), *models),
    )


def test_a_search_on_generated_speech_beats_the_mean_and_the_ridge_on_new_voices(chain):
    metrics = json.loads((chain.folder / "runs/mine/best/metrics.json").read_text())
    model, ridge = (metrics["scores"]["test"][name]["skill"] for name in ("model", "ridge"))

    assert chain.checked.splitlines()[-1] == "ok"
    assert model > 0.2
    assert model > ridge


def test_the_clone_is_a_style_that_supertonic_reads(chain):
    style = json.loads((chain.folder / "f2.json").read_text())

    assert style["style_ttl"]["dims"] == [1, 50, 256]
    assert style["style_dp"]["dims"] == [1, 8, 16]


def test_the_clone_sounds_more_like_the_original_than_most_presets_do(chain):
    (alike,) = re.findall(r"clone and original (0\.\d\d) alike", chain.heard)
    ((least, most),) = re.findall(r"the presets (0\.\d\d) to (0\.\d\d)", chain.heard)

    assert float(alike) > (float(least) + float(most)) / 2
    assert (chain.folder / "page.html").read_text().endswith("</html>")
