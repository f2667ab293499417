"""The winner and the exported model, evaluated on voices that they were not trained on."""

from dataclasses import dataclass
from pathlib import Path

from tune_encoder.config import TrainConfig, stored_config
from tune_encoder.data.pack import Pack, PackedData, open_pack
from tune_encoder.data.pack_info import pack_folder
from tune_encoder.data.packing import check_same_data, pack_data
from tune_encoder.data.score_words import skill_name
from tune_encoder.errors import StorageError
from tune_encoder.experiment.run import EXPORTED
from tune_encoder.model.encoder import Ensemble, rebuild_encoder
from tune_encoder.model.evaluate import Evaluation, evaluate_model, voice_skills
from tune_encoder.model.folder import is_model_folder, load_model, splits_trained_on
from tune_encoder.report.facts import Facts
from tune_encoder.training.checkpoints import load_state


@dataclass(frozen=True)
class Winner:
    """The evaluated best epoch of all trials."""

    split: str
    """test, or val if the data has no test split."""
    data: PackedData
    config: TrainConfig
    evaluation: Evaluation

    @property
    def pack(self) -> Pack:
        """The clips it was evaluated on."""
        return self.data.split(self.split)

    @property
    def skill_name(self) -> str:
        """Name of the skill on these voices."""
        return skill_name(self.evaluation.voices)

    def voices(self) -> dict[str, float]:
        """Skill by voice, the best first."""
        skills = voice_skills(self.evaluation.predicted, self.pack, self.data)
        return dict(sorted(skills.items(), key=lambda entry: -entry[1]))


def evaluate_winner(facts: Facts, data: PackedData) -> Winner:
    """Load the best epoch's checkpoint and evaluate it on the test voices.

    Raises:
        StorageError: if the checkpoint of that epoch is missing or damaged.
    """
    best = facts.best
    assert best is not None
    assert best.best is not None
    if (folds := facts.space.validation.folds) > 1:
        raise StorageError(
            f"The winner is {folds} encoders, each trained without the voices of one fold, so "
            "there is no single one to evaluate here; the export is one trained on all voices."
        )
    file = facts.experiment.checkpoint_file(best.best)
    if file is None:
        raise StorageError(f"trial {best.number}: the checkpoint of its best epoch was not kept")
    content = {**best.settings, "data_dir": facts.content["data_dir"]}
    config = stored_config(content, f"trial {best.number}")
    model = rebuild_encoder(config, load_state(file)["model"])
    split = "val" if data.test is None else "test"
    return Winner(split, data, config, evaluate_model(model, config, data, split))


@dataclass(frozen=True)
class Exported:
    """The evaluated export, which differs from the winner."""

    evaluation: Evaluation
    how: str
    """What makes it another model, for people."""


def evaluate_export(facts: Facts, winner: Winner) -> Exported | None:
    """Evaluate the exported model as the winner was.

    Returns:
        None if there is none, or if it is the winner as it is.

    Raises:
        StorageError: if it is damaged.
    """
    folder = facts.experiment.path / EXPORTED
    if not is_model_folder(folder):
        return None
    model, config = load_model(folder)
    found = evaluate_model(model, config, winner.data, winner.split)
    if found.scores["model"] == winner.evaluation.scores["model"]:
        return None
    ways = {
        "made of several encoders": isinstance(model, Ensemble),
        "trained again on train and val": "val" in splits_trained_on(folder)[0],
    }
    return Exported(found, " and ".join(words for words, is_so in ways.items() if is_so))


def read_data(facts: Facts) -> PackedData:
    """Memory-map the search's pack; if it exists, the data itself may be missing.

    Raises:
        DataError, StorageError: if neither exists.
    """
    settings = facts.space.base_config()
    folder = pack_folder(facts.content["fingerprint"], settings)
    if not folder.exists():
        folder = pack_data(Path(facts.content["data_dir"]), settings)
    data = open_pack(folder)
    check_same_data(facts.experiment.data_source(), data.info, settings)
    return data
