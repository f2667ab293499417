"""When the trials of a search are listened to, for `val_similarity`, and how much is spoken."""

from dataclasses import dataclass

from tune_encoder.config import SENTENCE_S, SimilaritySettings
from tune_encoder.space.plan import Plan, rung_epochs
from tune_encoder.space.space import SearchSpace


@dataclass(frozen=True)
class Listening:
    """How a trial measures `val_similarity`, and after which epochs."""

    settings: SimilaritySettings
    rungs: tuple[int, ...] = ()
    """Epochs at which the scheduler compares trials."""

    def is_due(self, epoch: int) -> bool:
        """Whether it is measured after an epoch; after the last of a run it always is."""
        every = self.settings.every
        return epoch == 1 or epoch in self.rungs or (every > 0 and epoch % every == 0)

    def count(self, plan: Plan) -> int:
        """Return how often it is measured in a search of this plan; confirmations measure none."""
        due = [e for e in range(1, plan.epochs + 1) if e == plan.epochs or self.is_due(e)]
        return sum(
            rung.trials * sum(before < epoch <= rung.epochs for epoch in due)
            for rungs in plan.brackets
            for before, rung in zip([0, *(each.epochs for each in rungs)], rungs, strict=False)
        )

    def speech_s(self, plan: Plan) -> float:
        """Return about how many seconds of speech that takes."""
        how = self.settings
        return self.count(plan) * how.voices * how.sentences * SENTENCE_S


def listening_of(space: SearchSpace) -> Listening | None:
    """Return how the trials of a search are listened to; None if it has no use for that."""
    return Listening(space.similarity, tuple(rung_epochs(space))) if space.listens else None
