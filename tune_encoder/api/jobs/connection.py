"""Connection to the Jobs API of a cluster: its address, the token, and Ray's errors in one line."""

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.tuning.cluster.ray_settings import (
    reach_loopback_directly,
    read_token,
    set_environment,
)
from tune_encoder.tuning.cluster.state import check_page, find_cluster

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_SCHEMES = ("http://", "https://")
_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_TOKEN_LOCATIONS = "RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH names, or ~/.ray/auth_token"
_TIMEOUT_S = 30.0


def choose_address(address: str | None) -> str:
    """Return the given address, else that of Ray's environment or of this machine's cluster.

    Raises:
        ConfigError: if it is not an HTTP address, which the Jobs API needs.
        StorageError: if another program has the port of this machine's cluster.
    """
    chosen = (
        address or os.environ.get(_ADDRESS_VARIABLES[0]) or _local_dashboard() or DEFAULT_ADDRESS
    )
    if not chosen.startswith(_SCHEMES):
        raise ConfigError(
            f"--address {chosen}: jobs are submitted over HTTP; write http://HOST:8265 or https://"
        )
    return chosen.rstrip("/")


def _local_dashboard() -> str:
    if (cluster := find_cluster()) is None:
        return ""
    check_page(cluster)
    return cluster.page


def connect(address: str) -> "JobSubmissionClient":
    """Return Ray's client for a cluster that requires a token, and accepts ours.

    Raises:
        StorageError: if nothing answers there, the cluster requires no token, or rejects ours.
    """
    set_environment()
    from ray.job_submission import JobSubmissionClient

    reach_loopback_directly()
    _check_requires_token(address)
    with ray_errors_in_one_line(address), _unset_variables(_ADDRESS_VARIABLES):
        return JobSubmissionClient(address, headers={"Authorization": f"Bearer {_read_token()}"})


@contextmanager
def ray_errors_in_one_line(address: str) -> Iterator[None]:
    """Convert what Ray raises while it talks to the cluster to a `StorageError`."""
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise StorageError(
            f"{address}: rejects this token; put the cluster's token into {_TOKEN_LOCATIONS}"
        ) from error
    except (ConnectionError, requests.exceptions.RequestException) as error:
        raise _no_answer_error(address, "the connection failed") from error
    except RuntimeError as error:
        raise StorageError(f"{address}: {str(error).strip().splitlines()[-1]}") from error


def _check_requires_token(address: str) -> None:
    """Raise a `StorageError` for a cluster without a token, where anyone could run code."""
    if _authentication_mode(address) != "token":
        raise StorageError(
            f"{address}: requires no token, so anyone who can reach it can run code there; "
            "start it with `tune-encoder cluster start`, or with RAY_AUTH_MODE=token"
        )


def _authentication_mode(address: str) -> str:
    try:
        with urllib.request.urlopen(
            f"{address}/api/authentication_mode", timeout=_TIMEOUT_S
        ) as answer:
            return str(json.load(answer)["authentication_mode"])
    except urllib.error.HTTPError:
        return "unknown to this version of Ray"
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise _no_answer_error(address, str(getattr(error, "reason", error))) from error


def _no_answer_error(address: str, why: str) -> StorageError:
    return StorageError(
        f"{address}: no Ray cluster answers ({why}); start one with `tune-encoder cluster start`, "
        "or give the --address of one"
    )


def _read_token() -> str:
    try:
        return read_token()
    except OSError as error:
        raise StorageError(
            f"{error.filename}: no token there ({error.strerror}); put the cluster's token into "
            f"{_TOKEN_LOCATIONS}"
        ) from error


@contextmanager
def _unset_variables(names: tuple[str, ...]) -> Iterator[None]:
    """Unset variables that Ray's client would prefer to the address it is given."""
    hidden: Mapping[str, str] = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
