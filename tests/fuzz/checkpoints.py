"""Mutations of checkpoints: damage never passes, and content that was made up is refused."""

import io

import torch

from tests.fuzz.mutation import changed, choose, damaged
from tests.fuzz.running import Kind
from tune_encoder.config import TrainConfig, stored_config
from tune_encoder.system.manifest import MANIFEST, save_with_hash
from tune_encoder.training.checkpoints import load_state, save_state
from tune_encoder.training.run_folder import read_checkpoint
from tune_encoder.training.state import start_run

_SETTINGS = TrainConfig(hidden_dim=8, num_layers=1, dropout=0.0)


class Checkpoints(Kind):
    """The checkpoint of a run, with the manifest beside it."""

    def __init__(self, folder, data):
        super().__init__(folder)
        self.data = data
        self.path = folder / "final_checkpoint.pt"
        self.run_state = start_run(_SETTINGS, data, torch.device("cpu"))
        self.run_state.history = [
            {"epoch": 1, "val_loss": 0.5, "val_skill": 0.5, "seconds": 1.0, "finished": False}
        ]
        save_state(self.path, self.run_state.state_dict())
        self.state = load_state(self.path)
        self.content, self.manifest = self.path.read_bytes(), self._manifest.read_bytes()
        weights = [*self.state["model"].items()]
        self.expected = {name: tensor.clone() for name, tensor in weights}

    @property
    def _manifest(self):
        return self.folder / MANIFEST

    def run(self, rng):
        self._manifest.write_bytes(self.manifest)
        self.path.write_bytes(self.content)
        choose(rng, (self._damage, self._damage_manifest, self._make_up, self._make_up_bytes))(rng)

    def _damage(self, rng):
        """The file is damaged: its hash tells."""
        content = damaged(rng, self.content)
        self.path.write_bytes(content)
        state, _ = read_checkpoint(self.path)
        assert content == self.content, "a damaged checkpoint was loaded"
        self._resume(state)

    def _damage_manifest(self, rng):
        self._manifest.write_bytes(damaged(rng, self.manifest))
        state, _ = read_checkpoint(self.path)
        for name, tensor in state["model"].items():
            assert torch.equal(tensor, self.expected[name]), f"{name} was changed"

    def _make_up(self, rng):
        """Another content, with a hash that fits."""
        content = io.BytesIO()
        part = choose(rng, list(self.state))
        inside = changed(rng, {part: self.state[part]})
        torch.save({**{n: v for n, v in self.state.items() if n != part}, **inside}, content)
        self._save(content.getvalue())

    def _make_up_bytes(self, rng):
        self._save(damaged(rng, self.content))

    def _save(self, content):
        save_with_hash(self.path, content, epoch=1)
        state, _ = read_checkpoint(self.path)
        self._resume(state)

    def _resume(self, state):
        stored_config(state["config"], str(self.path))
        start_run(_SETTINGS, self.data, torch.device("cpu"), state).load_state_dict(state)
