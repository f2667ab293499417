import json
import subprocess
import sys

import pytest

from tune_encoder.tuning.cluster import ray_patches

# All that the patches touch is hidden from them, as in a Ray that has it no more; Ray itself has
# loaded it by then. What imports Ray is then loaded, and a local Ray started and used.
WITHOUT_INTERNALS = """
import json, sys, tempfile
from pathlib import Path
from tune_encoder.tuning.cluster.ray_settings import set_environment

set_environment()
import ray
from ray import tune

private = ("ray_constants", "node", "services", "utils", "worker")
names = [f"ray._private.{name}" for name in private]
names += ["ray.tune.execution.class_cache", "ray.air._internal.usage"]
own = {name: sys.modules[name] for name in names}
sys.modules.update(dict.fromkeys(names))
from tune_encoder.tuning.cluster import ray_patches
sys.modules.update(own)

import tune_encoder.tuning.driver.launch
from tune_encoder.config import LaunchSettings
from tests.builders import new_experiment
from tune_encoder.tuning.cluster.connection import connected

ray_patches.pass_no_variables()
with connected(new_experiment(Path(tempfile.mkdtemp())), LaunchSettings()):
    patched = [owner for owner, name, _ in ray_patches._HELPER_PROCESSES if hasattr(owner, name)]
    print("=" + json.dumps([len(patched), ray.get(ray.remote(lambda: 7).remote())]))
"""


def test_what_ray_starts_by_itself_is_left_out_only_while_a_search_starts_it(monkeypatch):
    def of_ray():
        return [getattr(owner, name, None) for owner, name, _ in ray_patches._HELPER_PROCESSES]

    monkeypatch.setattr(
        ray_patches, "_HELPER_PROCESSES", (*ray_patches._HELPER_PROCESSES, (object, "gone", print))
    )
    before, during = of_ray(), []

    def start_in_vain():
        with ray_patches.without_helper_processes():
            during.extend(of_ray())
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        start_in_vain()

    assert of_ray() == before
    assert during == [*(instead for _, _, instead in ray_patches._HELPER_PROCESSES[:-1]), None]


def test_every_internal_that_is_patched_is_there_in_the_ray_that_is_installed():
    assert hasattr(ray_patches._CONSTANTS, "ENABLE_RAY_CLUSTER")
    assert hasattr(*ray_patches._DASHBOARD_OF_AGENT)
    for patched in (ray_patches._HELPER_PROCESSES, ray_patches._TIES_TO_TERMINAL):
        assert all(hasattr(owner, name) for owner, name, _ in patched)
    assert hasattr(ray_patches._CLASS_CACHE, "DEFAULT_ENV_VARS")
    assert hasattr(ray_patches._CLASS_CACHE, "ENV_VARS_TO_PROPAGATE")
    assert hasattr(ray_patches._CLASS_CACHE._ActorClassCache, "get")
    assert hasattr(ray_patches._USAGE, "tag_callbacks")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_ray_without_these_internals_works_without_the_patches():
    done = subprocess.run([sys.executable, "-c", WITHOUT_INTERNALS], capture_output=True, text=True)

    answers = [line[1:] for line in done.stdout.splitlines() if line.startswith("=")]
    assert answers, done.stderr
    assert json.loads(answers[0]) == [0, 7]


class Trained:
    """Stands for the class of a trial's actor."""


def started_actors(n):
    """The options with which Tune would start so many actors, each of a class as it has it."""
    found = ray_patches._CLASS_CACHE._ActorClassCache().get(Trained)
    found._remote = lambda args, kwargs, **options: options
    return [found.options(num_cpus=1).remote() for _ in range(n)]


def test_workers_are_numbered_and_another_search_can_have_the_same_names():
    with ray_patches.named_workers("mine"):
        first, second = started_actors(2)
    with ray_patches.named_workers("mine"):
        (again,) = started_actors(1)
    (nameless,) = started_actors(1)

    assert (first["name"], second["name"]) == ("mine: worker 1", "mine: worker 2")
    assert first["namespace"] == second["namespace"]
    assert (again["name"], first["num_cpus"]) == ("mine: worker 1", 1)
    assert again["namespace"] != first["namespace"]
    assert "name" not in nameless


def test_variables_of_our_environment_do_not_reach_workers():
    ray_patches.pass_no_variables()

    assert not ray_patches._CLASS_CACHE.ENV_VARS_TO_PROPAGATE
    assert not ray_patches._CLASS_CACHE.DEFAULT_ENV_VARS


COUNTED = """
import sys
from ray import tune
from ray.air._internal import usage
from tune_encoder.tuning.cluster.ray_patches import without_counted_callbacks

with without_counted_callbacks():
    usage.tag_callbacks([tune.Callback()])
print([name for name in ("mlflow", "wandb") if name in sys.modules])
"""


@pytest.mark.slow
def test_tune_imports_no_tracker_to_count_our_callbacks():
    command = [sys.executable, "-c", COUNTED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
