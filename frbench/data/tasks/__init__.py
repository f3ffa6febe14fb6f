"""Data sets drawn from structural models."""
