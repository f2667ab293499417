"""What runs in a trial's worker, on any node."""
