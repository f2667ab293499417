"""Samples on disk, and what is made of them: checks, packs, batches."""
