"""The machine: files, locks, hashes, memory and ports."""
