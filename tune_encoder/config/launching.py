"""Where a search runs, and where what it makes is kept."""

import re
from dataclasses import dataclass

from tune_encoder.config.settings import setting
from tune_encoder.errors import ConfigError

# As SQLAlchemy finds a password, which may hold any letter; or one among the parameters.
_PASSWORD = re.compile(r"^[^:]*://[^:/@]*:[^@]*@|[?&][^=&]*(password|passwd|pwd)=")


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

    def __post_init__(self) -> None:
        """Raise a `ConfigError` if the record has a password, which would stand in search.yaml."""
        if _PASSWORD.search(self.record):
            raise ConfigError(
                "record: the address has a password, which others would see; leave it out, and "
                "put it into PGPASSWORD or ~/.pgpass, which are read"
            )


HERE = LaunchSettings()
IN_ITS_FOLDER = KeepingSettings()
