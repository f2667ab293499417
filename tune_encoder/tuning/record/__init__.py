"""The record of a search, an Optuna study: the half that knows Optuna and no Ray."""
