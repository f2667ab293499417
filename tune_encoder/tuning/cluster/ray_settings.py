"""Ray's environment variables and token, wherever we start Ray or connect to it."""

import os
import secrets
import sys
from pathlib import Path

from tune_encoder.errors import StorageError
from tune_encoder.system.files import home_dir

# Each changes a default that would harm a search. Ray reads them when it is imported or started.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",  # otherwise anyone who can reach Ray's ports can run code
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0 the only way to silence Tune
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths keep their meaning in a worker
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "false",  # for Prometheus, on a port that needs no token
    "RAY_memory_monitor_refresh_ms": "0",  # its kill ends the search, not just one trial
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our record and TensorBoard logs replace them
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours also handles SIGTERM
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Tune's own state is never read back
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
# Ray's own settings with which it collects metrics all the same.
METRICS_ON = {"enable_metrics_collection": True}
METRICS_PORT = 8266  # the one after its dashboard's; if it is taken, the next free port is used
# Makes Ray listen on loopback only, as it does by default on the systems in its name.
LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Seconds a worker may take to release a trial; after that it is replaced by a new worker.
RELEASE_TIMEOUT = ("TUNE_FUNCTION_THREAD_TIMEOUT_S", "60")
_WORKER_VARIABLES = (
    "RAY_CHDIR_TO_TRIAL_DIR",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",
    RELEASE_TIMEOUT[0],
)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NODE_VARIABLES = (
    "RAY_USAGE_STATS_ENABLED",
    "RAY_enable_metrics_collection",
    "RAY_memory_monitor_refresh_ms",
)
_TOKEN_VARIABLE = "RAY_AUTH_TOKEN_PATH"
_OF_OTHERS = 0o077  # permissions


def set_environment() -> None:
    """Set the variables that Ray reads when it is imported; call this before importing Ray.

    If Ray is imported already, its authentication mode is fixed and must not be changed.
    """
    chosen = {"RAY_AUTH_MODE"} if "ray" in sys.modules else set()
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in chosen})
    os.environ.setdefault(*RELEASE_TIMEOUT)


def reach_loopback_directly() -> None:
    """Bypass proxies for requests to this machine, since a proxy would see the token."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [*filter(None, known.split(",")), *_LOOPBACK]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys(hosts))


def worker_environment() -> dict[str, str]:
    """Return variables for a cluster's workers, which have their node's environment, not ours."""
    return {name: os.environ[name] for name in _WORKER_VARIABLES}


def node_environment() -> dict[str, str]:
    """Return the variables that every node of a cluster needs at its start, besides a token."""
    return {name: ENVIRONMENT[name] for name in _NODE_VARIABLES}


def read_token() -> str:
    """Read Ray's token from where Ray reads it."""
    return os.environ.get("RAY_AUTH_TOKEN") or _token_path().read_text(encoding="utf-8").strip()


def protect_token() -> None:
    """Create Ray's token file for its owner only; Ray itself would let every local user read it.

    Raises:
        StorageError: if it cannot be written, naming the variable of another place.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    path = _token_path()
    try:
        _create_token(path)
    except OSError as error:
        raise StorageError(
            f"{path}: Ray's token cannot be written there; set RAY_AUTH_TOKEN_PATH to a file in a "
            "folder that you can write"
        ) from error
    if not os.environ.get("HOME"):  # Ray looks nowhere else, Python knows the user
        os.environ[_TOKEN_VARIABLE] = str(path)


def _token_path() -> Path:
    named = os.environ.get(_TOKEN_VARIABLE)
    return Path(named) if named else home_dir(_TOKEN_VARIABLE) / ".ray" / "auth_token"


def _create_token(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    elif _TOKEN_VARIABLE not in os.environ and path.stat().st_mode & _OF_OTHERS:
        path.chmod(0o600)
