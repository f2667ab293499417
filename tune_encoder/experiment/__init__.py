"""The experiment on disk, its status and views; loads neither torch nor Ray."""
