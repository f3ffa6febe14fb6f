"""Runs of one shape that train as one: one module, one Trainer, a row of each tensor for a run."""
