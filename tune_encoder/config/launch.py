"""Settings of where a search runs and where it stores its results."""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from tune_encoder.config.tracking import check_notify
from tune_encoder.config.training import setting
from tune_encoder.errors import ConfigError

PAGE_PORT = 8090  # of the live page; 8080 is optuna-dashboard's
_BUCKET_PATH = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9._-]+(/[^/]+)*/?")
# As SQLAlchemy finds a password, which may contain any character.
_PASSWORD = re.compile(r"[^:]*://[^:/@]*:[^@]*@")
# A password among the URL's parameters, or within the driver options that a parameter contains.
_PASSWORD_PARAMETER = re.compile(r"\?.*(password|passwd|pwd)\s*=", re.IGNORECASE | re.DOTALL)
_DATABASE = re.compile(r"[\w+.-]+://")


@dataclass(frozen=True, kw_only=True)
class LaunchSettings:
    """Settings of one launch of a search; the next launch may have others."""

    dashboard: bool = setting(False, "serve dashboards in the browser while the search runs")
    metrics: bool = setting(
        False, "export metrics for Prometheus while the search runs, to this machine only"
    )
    address: str = setting("", "Ray cluster to run on, HOST:PORT or auto; empty: this machine")
    notify: str = setting(
        "",
        "command to run, or address to post JSON to, at a new best trial, at the end and at a "
        "failure; empty: none",
    )

    def __post_init__(self) -> None:
        """Raise a `ConfigError` if nobody can be notified so."""
        if self.notify:
            check_notify(self.notify)


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """Settings that all launches of a search share; search.yaml stores them."""

    storage: str = setting(
        "",
        "where checkpoints are stored, s3://BUCKET/PATH or a folder that all nodes see; empty: the "
        "experiment's folder",
    )
    record: str = setting(
        "",
        "database that also stores the record, such as postgresql://USER@HOST/DATABASE; empty: "
        "only study.db",
    )

    def __post_init__(self) -> None:
        """Raise a `ConfigError` for an address that is invalid or contains a secret."""
        if "://" in self.storage:
            _check_storage(self.storage)
        if self.record:
            _check_record(self.record)


def _check_record(record: str) -> None:
    """Raise a `ConfigError`, which never shows the address, if it is invalid or has a password."""
    if not _DATABASE.match(record):
        raise ConfigError(
            "record: not the address of a database; write it as postgresql://USER@HOST/DATABASE"
        )
    if _PASSWORD.match(record) or _PASSWORD_PARAMETER.search(unquote(record)):
        raise ConfigError(
            "record: the address contains a password, which others could see; remove it and put "
            "the password into PGPASSWORD or ~/.pgpass"
        )


def _check_storage(storage: str) -> None:
    """Raise a `ConfigError` if the address is not a bucket or folder, or contains a key.

    The message never shows what may be a key, since errors end up in logs.
    """
    scheme, host = urlsplit(storage)[:2]
    if "@" in host:
        raise ConfigError(
            "storage has a key in its address, which would be stored and shown; put it into "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and write s3://BUCKET/PATH only"
        )
    shown = re.split("[?#]", storage)[0]
    if shown != storage:
        raise ConfigError(
            f"storage is {shown} followed by parameters; write s3://BUCKET/PATH only, and put the "
            "server and region into AWS_ENDPOINT_URL and AWS_REGION"
        )
    if scheme == "file" and not host:
        return
    if scheme == "s3" and ":" in host:
        raise ConfigError(
            f"storage is {storage}; put the server into AWS_ENDPOINT_URL and write s3://BUCKET/PATH"
        )
    if not _BUCKET_PATH.fullmatch(storage):
        raise ConfigError(
            f"storage is {storage}; it must be s3://BUCKET/PATH or a folder that all nodes see"
        )


LOCAL_LAUNCH = LaunchSettings()
LOCAL_STORAGE = StorageSettings()
