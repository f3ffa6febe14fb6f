"""Results of an evaluation: table, metric, value."""

from __future__ import annotations


class Evaluation(dict[str, dict[str, float]]):
    """Metrics of the tables that were evaluated, table -> metric -> value.

    Example:
        >>> found = Evaluation({"test/P0": {"accuracy": 0.5}})
        >>> found.flat()
        {'test/P0/accuracy': 0.5}
    """

    def flat(self) -> dict[str, float]:
        """Return all values by ``<table>/<metric>``, as records and loggers keep them."""
        return {
            f"{table}/{metric}": value
            for table, metrics in self.items()
            for metric, value in metrics.items()
        }
