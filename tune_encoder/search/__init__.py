"""Searches: the only code that runs Ray Tune and Optuna."""
