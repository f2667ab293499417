"""Running a search."""
