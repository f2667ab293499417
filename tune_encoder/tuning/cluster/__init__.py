"""Ray clusters: starting and stopping a local one, and connecting to any."""
