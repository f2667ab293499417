import time

from tune_encoder.search import launch


def test_what_is_loaded_ahead_is_loaded_once_and_before_ray_may_go(monkeypatch):
    loaded = []

    def load_slowly(name):
        time.sleep(0.2)
        loaded.append(name)

    monkeypatch.setattr(launch, "import_module", load_slowly)
    to_come = [True, False, False]
    ahead = launch.LoadAhead(lambda: to_come.pop(0))

    ahead.wait()
    for _ in range(3):
        ahead.on_trial_complete(1, [], None)
    assert loaded == []
    ahead.wait()

    assert loaded == ["torch", "tune_encoder.report"]
