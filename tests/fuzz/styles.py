"""Mutations of style JSONs: a file is refused, or read as what it holds."""

import json

import numpy as np

from tests.fabricate import make_style
from tests.fuzz.mutation import as_json, changed, choose, damaged
from tests.fuzz.running import Kind
from tune_encoder.data.voice_style import read_voice_style, write_voice_style

_TOP = ("style_ttl", "style_dp")


class Styles(Kind):
    """A voice style, as every Supertonic loader reads it."""

    def __init__(self, folder):
        super().__init__(folder)
        self.path = folder / "style.json"
        write_voice_style(self.path, make_style(0), {"source_file": "a.wav"})
        self.content = self.path.read_bytes()
        self.value = json.loads(self.content)

    def run(self, rng):
        self.path.write_bytes(self._mutated(rng))
        style = read_voice_style(self.path)
        for part in (style.ttl, style.dp):
            assert np.allclose(np.linalg.norm(part, axis=-1), 1, atol=1e-3), "rows not of norm 1"

    def _mutated(self, rng):
        if rng.random() < 0.4:
            return damaged(rng, self.content)
        value = dict(self.value)
        if rng.random() < 0.5:  # the outer structure, of which there is little
            part = choose(rng, _TOP)
            outer = {name: each for name, each in value[part].items() if name != "data"}
            value[part] = changed(rng, {**outer, "data": "@"})
            if value[part].get("data") == "@":
                value[part]["data"] = self.value[part]["data"]
            return as_json(value)
        part = choose(rng, _TOP)
        value[part] = {**value[part], "data": changed(rng, value[part]["data"])}
        return as_json(value)
