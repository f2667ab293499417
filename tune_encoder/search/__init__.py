"""Searches: the only code that runs Ray Tune and Optuna."""

import os
import sys

from tune_encoder.ray_settings import ENVIRONMENT, LEAVE_S

# Set before anything here imports Ray. One that is loaded has chosen its mode of authentication
# already, and two halves must not differ.
_fixed = {"RAY_AUTH_MODE"} if "ray" in sys.modules else set()
os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in _fixed})
os.environ.setdefault(*LEAVE_S)
