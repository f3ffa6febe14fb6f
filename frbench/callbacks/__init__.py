"""Callbacks and loggers that every run of the command line has."""

from frbench.callbacks.checkpoints import BestCheckpoint, EarlyStop
from frbench.callbacks.csv_logger import CSVLogger
from frbench.callbacks.encoding import EncodingProbe
from frbench.callbacks.rolling import RollingCheckpoint
from frbench.callbacks.sanity import SanityCheck
from frbench.callbacks.threads import ThreadRule

__all__ = [
    "BestCheckpoint",
    "CSVLogger",
    "EarlyStop",
    "EncodingProbe",
    "RollingCheckpoint",
    "SanityCheck",
    "ThreadRule",
]
