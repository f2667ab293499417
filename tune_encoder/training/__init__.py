"""Training one config: the loop, its losses, its checkpoints."""
