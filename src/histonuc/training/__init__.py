"""Training: settings, loop, checkpoints."""
