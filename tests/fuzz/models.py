"""Mutations of exported models whose hashes are made to fit, so that the content is read."""

import json
import shutil

import yaml

from tests.fuzz.mutation import (
    arrays_of,
    as_json,
    changed,
    choose,
    damaged,
    damaged_zip,
    npz,
    odd_array,
)
from tests.fuzz.running import Kind, run_command
from tune_encoder.data.voice_style import read_voice_style
from tune_encoder.export.provenance import PROVENANCE_FORMAT
from tune_encoder.system.manifest import MANIFEST, PROVENANCE, sha256_of

METRICS_CONTENT = {
    "experiment": "mine", "why": "it is the best", "kind": "epoch", "trial": 0, "epoch": 1,
    "seed": 0, "trained_in": "mine", "members": [], "combined": [], "versions": {},
    "scores": {"val": {"model": {"skill": 0.5, "skill_ttl": 0.5, "skill_dp": 0.5}}},
    "voices": {"val": "new"}, "skill_interval_95": {"val": None}, "fingerprint": "",
}  # fmt: skip
PROVENANCE_CONTENT = {
    "format": PROVENANCE_FORMAT, "made_at": "2026-01-01T00:00:00+00:00", "experiment": "mine",
    "kind": "epoch", "members": [], "trained_on": ["train"], "search_seed": 0,
    "data": {"fingerprint": "0" * 16}, "versions": {"search": {}, "export": {}},
}  # fmt: skip


class Models(Kind):
    """A model with its ONNX file, its voices, its scores and its provenance."""

    def __init__(self, folder, model, recording):
        super().__init__(folder)
        self.whole, self.model = folder / "whole", folder / "model"
        ignored = shutil.ignore_patterns("*int8*", "audio_encoder*", MANIFEST)
        shutil.copytree(model, self.whole, ignore=ignored)
        (self.whole / "metrics.json").write_text(json.dumps(METRICS_CONTENT))
        (self.whole / "MODEL_CARD.md").write_text("a card\n")
        self.contents = {path.name: path.read_bytes() for path in self.whole.iterdir()}
        shutil.copytree(self.whole, self.model)
        self.recording = recording

    def run(self, rng):
        name = choose(rng, [*self.contents, PROVENANCE])
        provenance = {**PROVENANCE_CONTENT, "files": self._hashes()}
        if name == PROVENANCE:
            content = _changed_provenance(rng, provenance)
        else:
            content = _mutated(rng, name, self.contents[name])
            provenance["files"][name] = {"sha256": [sha256_of(content)]}
            (self.model / PROVENANCE).write_text(json.dumps(provenance))
        (self.model / name).write_bytes(content)
        try:
            choose(rng, self._readers(name))()
        finally:
            if name in self.contents:
                (self.model / name).write_bytes(self.contents[name])

    def _hashes(self):
        return {n: {"sha256": [sha256_of(content)]} for n, content in self.contents.items()}

    def _readers(self, name):
        """What reads a file of this name."""
        return {
            "voice_encoder.onnx": [self._clone],
            "voices.npz": [self._clone],
            "model.safetensors": [lambda: self._clone("--device", "cpu")],
            "config.yaml": [lambda: self._clone("--device", "cpu")],
        }.get(name, [self._verify])

    def _verify(self):
        run_command("verify", self.model, "--data-dir", self.folder / "none")

    def _clone(self, *options):
        out = self.folder / "out.json"
        run_command("clone", self.model, self.recording, "-o", out, *options)
        read_voice_style(out)


def _changed_provenance(rng, provenance):
    if rng.random() < 0.3:
        return damaged(rng, json.dumps(provenance).encode())
    part = choose(rng, list(provenance))
    return as_json({**provenance, **changed(rng, {part: provenance[part]})})


def _mutated(rng, name, content):
    if rng.random() < 0.4 or not name.endswith((".json", ".yaml", ".npz", ".onnx")):
        return damaged(rng, content)
    if name.endswith(".json"):
        return as_json(changed(rng, json.loads(content)))
    if name.endswith(".yaml"):
        return yaml.safe_dump(changed(rng, yaml.safe_load(content))).encode()  # noqa: TID251
    if name.endswith(".onnx"):
        return _changed_graph(rng, content)
    if rng.random() < 0.5:
        return damaged_zip(rng, content)
    arrays = arrays_of(content)
    part = choose(rng, list(arrays))
    return npz({**arrays, part: odd_array(rng, arrays[part])})


def _changed_graph(rng, content):
    """A graph whose inputs, metadata or nodes are others."""
    import onnx

    model = onnx.load_from_string(content)
    graph = model.graph
    choose(
        rng,
        (
            lambda: graph.node.remove(choose(rng, graph.node)),
            lambda: graph.output.remove(choose(rng, graph.output)),
            lambda: graph.input[0].CopyFrom(_value("audio", (2, 3))),
            lambda: graph.input.append(_value("more", (1,))),
            lambda: setattr(choose(rng, graph.node), "op_type", "Relu"),
            lambda: setattr(choose(rng, graph.output), "name", "x"),
            lambda: setattr(choose(rng, model.metadata_props), "value", choose(rng, ("", "x"))),
            lambda: model.metadata_props.remove(choose(rng, model.metadata_props)),
        ),
    )()
    return model.SerializeToString()


def _value(name, shape):
    import onnx

    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
