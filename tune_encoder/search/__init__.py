"""Searches: the only code that runs Ray Tune and Optuna."""

import os
import sys

# Ray reads these when it is imported, so they are set before anything here imports it; each
# undoes a default that would harm a search.
_RAY_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",  # whoever reaches Ray's ports can run code
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0 the only way to silence Tune
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths keep their meaning in a worker
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # its kill ends the whole search, not one trial
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our record and TensorBoard logs replace them
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours also knows SIGTERM
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Tune's own state is never read back
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
if "ray" in sys.modules:  # it has chosen its mode already, and two halves must not differ
    del _RAY_ENVIRONMENT["RAY_AUTH_MODE"]
os.environ.update(_RAY_ENVIRONMENT)
# Seconds a worker may take to leave a trial; one that takes longer is replaced by a new one.
os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "60")
