"""The code that runs in a trial's worker, on any node."""
