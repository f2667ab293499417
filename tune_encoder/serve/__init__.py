"""A live page of the searches under a root, on this machine alone."""
