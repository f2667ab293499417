"""Settings of where a search is shown, and who hears of it, besides its own folder."""

import re
import shlex
import shutil
from dataclasses import dataclass
from urllib.parse import urlsplit

from tune_encoder.config.training import setting
from tune_encoder.errors import ConfigError

WEB_SCHEMES = ("http", "https")
# As W&B: any letters but those of paths and addresses, before it perhaps the user or team.
_PROJECT = re.compile(r"(?:[\w.-]{1,64}/)?[^/\\#?%:\s]{1,128}")


@dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """To which trackers a search is sent; nothing that it computes depends on them."""

    mlflow: str = setting("", "MLflow server to send it to, http://HOST:PORT; empty: none")
    wandb: str = setting("", "W&B project to send it to, [ENTITY/]PROJECT; empty: none")

    def __post_init__(self) -> None:
        """Raise a `ConfigError` for an address that is invalid or contains a secret."""
        if self.mlflow:
            _check_mlflow(self.mlflow)
        if self.wandb and not _PROJECT.fullmatch(self.wandb):
            raise ConfigError(
                f"wandb is {self.wandb!r}, not a project of Weights & Biases; write PROJECT or "
                "ENTITY/PROJECT"
            )

    @property
    def is_wanted(self) -> bool:
        """Whether any tracker is named."""
        return bool(self.mlflow or self.wandb)


def _check_mlflow(uri: str) -> None:
    """Raise a `ConfigError`, which never shows a password, if it is not a server's address."""
    if _has_secret(uri):
        raise ConfigError(
            "mlflow: the address contains a password, which others could see; remove it and put it "
            "into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    if not is_web_address(uri):
        raise ConfigError(
            f"mlflow is {uri!r}, not the address of a server; write it as http://HOST:PORT"
        )


def check_notify(notify: str) -> None:
    """Raise a `ConfigError` if it is neither an address nor a command that can be run.

    An address is not shown in full: whoever knows that of a webhook may use it.
    """
    if notify.isspace():
        raise ConfigError("notify is blank; name a command or an address")
    if is_address(notify):
        if not is_web_address(notify):
            raise ConfigError(
                f"notify: {notify.partition('://')[0]}:// is not an address that can be told; "
                "write http://HOST/PATH, https://HOST/PATH or a command"
            )
        return
    words = notify_words(notify)
    if shutil.which(words[0]) is None:
        raise ConfigError(
            f"notify: {words[0]} is not a program that can be run; name one of your PATH or a file "
            "that is executable"
        )


def notify_words(command: str) -> list[str]:
    """Split a command into its words, which no shell reads.

    Raises:
        ConfigError: if a quotation does not end.
    """
    try:
        return shlex.split(command)
    except ValueError as error:
        raise ConfigError(
            f"notify is {command!r} ({error}); end each quotation that it begins"
        ) from error


def is_address(notify: str) -> bool:
    """Whether what is to be notified is an address, not a command."""
    return "://" in notify.split(maxsplit=1)[0]


def is_web_address(text: str) -> bool:
    """Whether a text is an address of HTTP with a host, and with a port that is one."""
    try:
        parts = urlsplit(text)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = not any(letter.isspace() for letter in text)
    return parts.scheme in WEB_SCHEMES and bool(parts.hostname) and has_port and plain


def _has_secret(uri: str) -> bool:
    host = uri.partition("://")[2].partition("/")[0]
    return "@" in host
