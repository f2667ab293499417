"""The actor in which Ray Tune runs trials, and how Ray's pages show it.

Ray reads an actor's representation once, after it was created; a worker that is reused for another
trial keeps it. What changes is the title of its process, which the page of the cluster shows.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tune_encoder.tuning.worker.settings import TrialConfig

if TYPE_CHECKING:
    from ray.tune import Trainable


def trial_worker(
    train: Callable[[TrialConfig], None], resources: dict[str, float]
) -> "type[Trainable]":
    """Return the class of the actors that run a function, represented as ours.

    Args:
        train: Trains one trial; a module has it, since Ray sends its name to workers.
        resources: What a trial needs, such as {"cpu": 1, "gpu": 0}.
    """
    from ray import tune
    from ray.tune.trainable import wrap_function

    function_trainable: Any = wrap_function(train)

    class TrialWorker(function_trainable):  # type: ignore[misc]
        def __repr__(self) -> str:
            worker = self.config["worker"]
            return f"{worker.experiment.name}: from trial {self.config['number']} on"

    worker: type[Trainable] = tune.with_resources(TrialWorker, resources)
    worker.__qualname__ = TrialWorker.__name__  # which Ray's pages show
    return worker


def show_epoch(config: TrialConfig, epoch: int) -> None:
    """Show what an actor trains as the title of its process, such as `ray::mine: worker 1`.

    Trial and epoch follow, unless Ray exports metrics: it makes new series of each title.

    Args:
        config: The config of the trial.
        epoch: The epoch that begins.
    """
    import ray

    set_title = getattr(ray._raylet, "setproctitle", None)
    name = ray.get_runtime_context().get_actor_name() or config["worker"].experiment.name
    if set_title is None:
        return
    where = "" if config["worker"].steady_title else f", trial {config['number']} epoch {epoch}"
    set_title(f"ray::{name}{where}")
