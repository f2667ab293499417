"""Encoders: what they are, their folder, their predictions, their scores."""
