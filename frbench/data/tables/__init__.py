"""Data sets from tables of columns."""
