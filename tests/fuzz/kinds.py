"""The kinds of input, by name, and the files that they need."""

from dataclasses import dataclass
from pathlib import Path

from tests.fabricate import write_wav
from tests.fuzz.arguments import Arguments
from tests.fuzz.checkpoints import Checkpoints
from tests.fuzz.models import Models
from tests.fuzz.running import Kind
from tests.fuzz.samples import Samples
from tests.fuzz.settings import Settings
from tests.fuzz.studies import Studies
from tests.fuzz.styles import Styles
from tune_encoder.config import TrainConfig
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.samples import find_samples, read_sample

NAMES = ("npz", "yaml", "arguments", "checkpoint", "style", "model", "study")


@dataclass(frozen=True)
class Scene:
    """What several kinds need."""

    data_dir: Path
    model_dir: Path
    """An exported model with its ONNX files."""

    def kind(self, name: str, folder: Path) -> Kind:
        """Make the files of a kind in a new folder."""
        folder.mkdir()
        if name == "checkpoint":
            return Checkpoints(folder, open_pack(pack_data(self.data_dir, TrainConfig())))
        if name not in ("arguments", "model"):
            return {"npz": Samples, "yaml": Settings, "style": Styles, "study": Studies}[name](
                folder
            )
        voice = read_sample(find_samples(self.data_dir / "val")[0]).audio[:48000]
        recording = write_wav(folder / "voice.wav", voice)
        if name == "model":
            return Models(folder, self.model_dir, recording)
        return Arguments(folder, self.model_dir, self.data_dir, recording)
