"""Exporting metrics of a running search through Ray, from where Prometheus reads them."""

import time

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.util.metrics import Counter, Gauge

from tune_encoder.experiment.metrics import EXPERIMENT, METRICS, Metric, SearchMetrics
from tune_encoder.tuning.record.record import Record

UPDATE_S = 2.0  # Ray sends them on every ten seconds


class MetricsExporter(Callback):
    """Sets the metrics by the record, after steps of Tune."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._metrics = SearchMetrics(record.space)
        self._ray = {metric.name: _of_ray(metric, record) for metric in METRICS}
        self._counted: dict[tuple[str, str], float] = {}
        self._set_at = -UPDATE_S

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle without the metrics: Tune pickles its callbacks, but they are never loaded."""
        return MetricsExporter, (self._record,)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Set the metrics, at most every two seconds."""
        if time.monotonic() - self._set_at >= UPDATE_S:
            self._set_at = time.monotonic()
            self.set_all()

    def set_all(self) -> None:
        """Set all metrics now."""
        for metric, tag, number in self._metrics.values(self._record.trials.values()):
            self._set(metric, tag, number)

    def _set(self, metric: Metric, tag: str, number: float) -> None:
        tags = {metric.tag: tag} if metric.tag else {}
        ray_metric, counted = self._ray[metric.name], self._counted.get((metric.name, tag), 0.0)
        if isinstance(ray_metric, Gauge):
            ray_metric.set(number, tags)
        elif number > counted:
            ray_metric.inc(number - counted, tags)
            self._counted[metric.name, tag] = number


def _of_ray(metric: Metric, record: Record) -> Counter | Gauge:
    kind = Counter if metric.counts else Gauge
    tags = (EXPERIMENT, metric.tag) if metric.tag else (EXPERIMENT,)
    made: Counter | Gauge = kind(metric.name, metric.help, tags)
    made.set_default_tags({EXPERIMENT: record.experiment.name})
    return made
