"""Where a search runs, and where what it makes is kept."""

from dataclasses import dataclass

from tune_encoder.config.settings import setting


@dataclass(frozen=True, kw_only=True)
class LaunchSettings:
    """Of one launch of a search; the next may be told other things."""

    dashboard: bool = setting(False, "serve pages to look at it with")
    address: str = setting("", "Ray cluster to run on, HOST:PORT or auto; empty is this machine")


@dataclass(frozen=True, kw_only=True)
class KeepingSettings:
    """Of a search and all its launches; search.yaml has them."""

    storage: str = setting("", "where checkpoints are kept; empty is the experiment's folder")
    record: str = setting("", "database of the record; empty is the experiment's study.db alone")


HERE = LaunchSettings()
IN_ITS_FOLDER = KeepingSettings()
