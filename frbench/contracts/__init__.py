"""What every part signs: batches, staged state, declared properties, checkpoints, errors."""
