"""Training a config: loop, loss, augmentation, checkpoints."""
