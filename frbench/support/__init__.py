"""Files, progress and parsing: nothing that is specific to classification."""
