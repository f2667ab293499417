"""The experiment on disk, and all ways to look at it; loads neither torch nor Ray."""
