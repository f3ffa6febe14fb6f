"""FR-Train: the game of classifier, fairness and robustness discriminators."""
