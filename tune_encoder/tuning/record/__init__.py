"""The record of a search, an Optuna study; this half uses Optuna and not Ray."""
