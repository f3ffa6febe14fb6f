"""Results of grids: settings chosen on validation data, test metrics aggregated over seeds."""

from frbench.report.interval import Estimate, estimate
from frbench.report.render import render
from frbench.report.results import Run, read
from frbench.report.rule import Rule, parse_rule
from frbench.report.signatures import Signature, signatures
from frbench.report.summary import Report, Row, summarise

__all__ = [
    "Estimate", "Report", "Row", "Rule", "Run", "Signature",
    "estimate", "parse_rule", "read", "render", "signatures", "summarise",
]  # fmt: skip
