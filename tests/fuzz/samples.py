"""Mutations of npz samples: a file is refused, or read as what it holds."""

import numpy as np

from tests.fabricate import make_sample
from tests.fuzz.mutation import (
    arrays_of,
    choose,
    damaged,
    damaged_zip,
    npz,
    odd_array,
)
from tests.fuzz.running import Kind
from tune_encoder.data.samples import member_checksums, read_sample, write_sample

_FIELDS = ("audio", "style_ttl", "style_dp", "text", "lang", "sample_rate", "voice")


class Samples(Kind):
    """A sample in npz, stored as numpy does."""

    def __init__(self, folder):
        super().__init__(folder)
        self.path = folder / "sample.npz"
        write_sample(self.path, make_sample(voice="Ann"))
        self.content = self.path.read_bytes()
        self.arrays = arrays_of(self.content)

    def run(self, rng):
        arrays, content = self.arrays, damaged(rng, self.content)
        if rng.random() < 0.5:
            arrays = self._changed(rng)
            content = npz(arrays)
        elif rng.random() < 0.3:
            arrays, content = None, damaged_zip(rng, self.content)
        self.path.write_bytes(content)
        member_checksums(self.path)
        sample = read_sample(self.path)
        if arrays is not None:
            _check_equal(sample, arrays)

    def _changed(self, rng):
        arrays, name = dict(self.arrays), choose(rng, _FIELDS)
        if rng.random() < 0.1:
            del arrays[name]
        else:
            arrays[name] = odd_array(rng, arrays[name])
        return arrays


def _check_equal(sample, arrays):
    """Compare what was read with what the file holds."""
    for name in _FIELDS:
        found, expected = getattr(sample, name), arrays.get(name)
        if expected is None:
            assert found is None, f"{name} was read though it is not there"
        elif name in ("audio", "style_ttl", "style_dp"):
            assert np.array_equal(found.ravel(), expected.astype(np.float32).ravel()), name
        else:
            assert found == type(found)(expected.item()), f"{name} is {found!r}"
