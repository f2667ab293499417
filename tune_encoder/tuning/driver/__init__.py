"""The driver, which runs a search with Ray Tune; this half uses Ray and not Optuna."""
