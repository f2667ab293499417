"""Speech of Supertonic: training data from its models, for those who have no recordings."""
