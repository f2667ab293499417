"""Searches as jobs of a Ray cluster: submitted, watched, stopped and resumed from anywhere."""

from importlib import import_module

import_module("tune_encoder.search")  # Ray reads the settings made there when it is imported
