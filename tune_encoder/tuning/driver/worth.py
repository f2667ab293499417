"""Whether another trial is worth its epochs, for searches that end at the noise."""

from functools import cached_property

from tune_encoder.experiment.gain import (
    ExpectedGain,
    read_gains,
    seed_noise,
    standard_error,
    write_gains,
)
from tune_encoder.tuning.record.record import Record


class Worth:
    """Compares the gain that is expected of the next trial with the noise."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def reason_to_end(self) -> str:
        """Say why no further trial should be started, or return an empty string.

        It depends on the record alone, so that a resumed search ends where an uninterrupted one
        would have ended.
        """
        record = self._record
        if record.space.budget.until != "noise":
            return ""
        expected = self._expected()
        if expected is None:
            return ""
        self._write(expected)
        if not expected.is_noise:
            return ""
        return (
            f"the next trial is expected to improve {record.space.metric.name} by "
            f"{expected.gain:.2g}, less than its noise of {expected.noise:.2g}"
        )

    def _expected(self) -> ExpectedGain | None:
        """Return what is expected, if the noise is known and there are enough trials."""
        from tune_encoder.tuning.record.expected_gain import expected_gain  # loads SciPy

        record = self._record
        trials = list(record.trials.values())
        noises = (self._seed_noise, standard_error(trials, record.space))
        known = [noise for noise in noises if noise is not None]
        gain = expected_gain(record.space, trials) if known else None
        if gain is None:
            return None
        n_epochs = sum(len(trial.rows) for trial in trials)
        return ExpectedGain(record.n_started(), n_epochs, gain, max(known))

    @cached_property
    def _seed_noise(self) -> float | None:
        return seed_noise(self._record.experiment)

    def _write(self, expected: ExpectedGain) -> None:
        experiment = self._record.experiment
        before = [each for each in read_gains(experiment) if each.trials < expected.trials]
        write_gains(experiment, [*before, expected])
