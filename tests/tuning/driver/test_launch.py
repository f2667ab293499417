import subprocess
import sys
import time

from ray.tune.execution.tune_controller import _get_max_pending_trials
from ray.tune.experiment import Trial
from ray.tune.search import Searcher, SearchGenerator

from tune_encoder.system.afterwards import before_export, export_follows
from tune_encoder.tuning.driver import launch


def test_what_is_loaded_ahead_is_loaded_once_and_before_ray_may_go(monkeypatch):
    loaded = []

    def load_slowly(name):
        time.sleep(0.2)
        loaded.append(name)

    monkeypatch.setattr(launch, "import_module", load_slowly)
    to_come = [True, False, False]
    ahead = launch.PreloadTorch(lambda: to_come.pop(0))

    ahead.wait()
    for _ in range(3):
        ahead.on_trial_complete(1, [], None)
    assert loaded == []
    ahead.wait()

    assert loaded == ["torch"]


def test_nothing_is_loaded_ahead_for_a_search_that_nothing_follows(monkeypatch):
    loaded: list[str] = []
    monkeypatch.setattr(launch, "import_module", loaded.append)
    with before_export(False):
        ahead = launch.PreloadTorch(lambda: False, export_follows())
    ahead.on_trial_complete(1, [], None)
    ahead.wait()
    assert loaded == []

    with before_export(True):
        assert export_follows()
    assert export_follows()  # for all that is known


def test_of_an_ended_trial_tune_keeps_neither_its_settings_nor_its_row():
    settings = '{"learning_rate": 0.003}'
    ended = Trial("trainable", stub=True, experiment_tag=f"1_settings={settings}")
    ended.update_last_result({"val_loss": 0.5, "row": "{}", "config": {"settings": settings}})

    launch._FreeEndedTrials().on_trial_complete(1, [ended], ended)

    assert ended.last_result == {"val_loss": 0.5, "trial_id": ended.trial_id}
    assert (ended.experiment_tag, ended.metric_analysis) == ("", {})


def test_tune_asks_for_all_trials_at_once_during_a_search_of_ours_alone(monkeypatch):
    def asked():
        return _get_max_pending_trials(SearchGenerator(Searcher()))

    before = asked()
    with launch._unlimited_pending_trials():
        assert asked() > 1000 > before
    assert asked() == before

    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "3")
    with launch._unlimited_pending_trials():
        assert asked() == 3
    assert asked() == 3


def test_a_search_starts_without_loading_what_its_start_does_not_need():
    code = (
        "import sys, tune_encoder.tuning.driver.launch\n"
        "print([name for name in ('torch', 'scipy', 'sklearn') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
