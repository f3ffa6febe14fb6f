"""Where things lie in a checkout."""

from pathlib import Path

#: The repository.
ROOT = Path(__file__).parents[2]
