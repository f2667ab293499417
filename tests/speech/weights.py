"""The weights of the speaker encoder, which the extra `test` does not bring."""

from importlib.util import find_spec

import pytest

needs_weights = pytest.mark.skipif(
    find_spec("resemblyzer") is None,
    reason="no speaker encoder here; pip install --no-deps resemblyzer==0.1.4",
)
