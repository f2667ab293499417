"""Where a search runs, and where what it makes is kept."""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from tune_encoder.config.training import setting
from tune_encoder.errors import ConfigError

_BUCKET_PATH = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9._-]+(/[^/]+)*/?")
# As SQLAlchemy finds a password, which may hold any letter.
_PASSWORD = re.compile(r"[^:]*://[^:/@]*:[^@]*@")
# One among the parameters, or in the words of a driver that are the value of one.
_PASSWORD_PARAMETER = re.compile(r"\?.*(password|passwd|pwd)\s*=", re.IGNORECASE | re.DOTALL)
_DATABASE = re.compile(r"[\w+.-]+://")


@dataclass(frozen=True, kw_only=True)
class LaunchSettings:
    """Of one launch of a search; the next may be told other things."""

    dashboard: bool = setting(False, "serve pages to look at it with")
    address: str = setting("", "Ray cluster to run on, HOST:PORT or auto; empty is this machine")


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """Of a search and all its launches; search.yaml has them."""

    storage: str = setting("", "where checkpoints are kept; empty is the experiment's folder")
    record: str = setting("", "database of the record; empty is the experiment's study.db alone")

    def __post_init__(self) -> None:
        """Raise a `ConfigError` for an address that cannot be used, or has a secret in it."""
        if "://" in self.storage:
            _check_storage(self.storage)
        if self.record:
            _check_record(self.record)


def _check_record(record: str) -> None:
    """Raise a `ConfigError` if it is no address, or has a password in it; it is not repeated."""
    if not _DATABASE.match(record):
        raise ConfigError(
            "record: not the address of a database; write it as postgresql://USER@HOST/DATABASE"
        )
    if _PASSWORD.match(record) or _PASSWORD_PARAMETER.search(unquote(record)):
        raise ConfigError(
            "record: the address has a password, which others would see; leave it out, and "
            "put it into PGPASSWORD or ~/.pgpass, which are read"
        )


def _check_storage(storage: str) -> None:
    """Raise a `ConfigError` if the address is none of a bucket or folder, or has a key in it.

    What may be a key is never repeated: errors end up in logs.
    """
    scheme, host = urlsplit(storage)[:2]
    if "@" in host:
        raise ConfigError(
            "storage has a key in its address, which would be kept and shown; give it in "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and s3://BUCKET/PATH alone"
        )
    shown = re.split("[?#]", storage)[0]
    if shown != storage:
        raise ConfigError(
            f"storage is {shown} and more behind it; give s3://BUCKET/PATH alone, and server and "
            "region in AWS_ENDPOINT_URL and AWS_REGION"
        )
    if scheme == "file" and not host:
        return
    if scheme == "s3" and ":" in host:
        raise ConfigError(
            f"storage is {storage}; name the server in AWS_ENDPOINT_URL, and give s3://BUCKET/PATH"
        )
    if not _BUCKET_PATH.fullmatch(storage):
        raise ConfigError(
            f"storage is {storage}; it must be s3://BUCKET/PATH or a folder that all nodes see"
        )


LOCAL_LAUNCH = LaunchSettings()
LOCAL_STORAGE = StorageSettings()
