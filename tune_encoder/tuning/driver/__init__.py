"""The process that runs a search with Ray Tune: the half that knows Ray and no Optuna."""
