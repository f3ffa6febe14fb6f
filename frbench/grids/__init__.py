"""Grids of runs: the grid file, its cells, and the loops over them."""
