"""The Ray that a search runs on."""
