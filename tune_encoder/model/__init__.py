"""Encoders: architecture, model folder, prediction and evaluation."""
