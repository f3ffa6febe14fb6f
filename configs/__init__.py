"""Configurations of frbench, installed as ``frbench.configs`` and found by name."""
