"""Whether the trials of a search can measure `val_similarity`, checked before Ray starts.

Neither torch nor a model is loaded; what speaks is imported only where a search has a use for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tune_encoder.config import SIMILARITY
from tune_encoder.data.pack import PackedData
from tune_encoder.data.voice_style import VoiceStyle
from tune_encoder.errors import ConfigError, DataError, StorageError
from tune_encoder.space import SearchSpace


def check_can_listen(space: SearchSpace) -> None:
    """Check that the packages and models are here, if the search has a use for them.

    Raises:
        ConfigError: if a package is missing.
        StorageError: if files of a model are missing.
    """
    if not space.listens:
        return
    from tune_encoder.speech import readiness

    with _named():
        readiness.check_can_listen(space.similarity)


def check_speaks(space: SearchSpace, data: PackedData) -> None:
    """Check that the model speaks in the styles of the data, if the search has a use for that.

    Raises:
        ConfigError, StorageError: if Supertonic's package or model is missing.
        DataError: if the styles are of another version of Supertonic, or the model has no presets,
            which tell its version.
    """
    if not space.listens:
        return
    from tune_encoder.speech import readiness

    styles, first = data.val.unique_styles, data.val.style_ids[0]
    style = VoiceStyle(styles.ttl[first].astype("float32"), styles.dp[first]).normalized()
    with _named():
        readiness.check_speaks(space.similarity, style, f"voice {data.val.voices[0]} of val")


@contextmanager
def _named() -> Iterator[None]:
    """Say in an error what needs that."""
    try:
        yield
    except (ConfigError, DataError, StorageError) as error:
        raise type(error)(f"{SIMILARITY}: {error}") from error
