"""Hyperparameter search for encoders that turn a recording into a Supertonic voice style."""

__version__ = "0.1.0"
