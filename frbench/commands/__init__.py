"""The verbs of ``frbench``, one module each."""
