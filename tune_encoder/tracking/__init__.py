"""Trackers and notifications: what is sent of a search, always from its record."""
