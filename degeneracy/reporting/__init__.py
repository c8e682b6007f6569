"""The report of a study: one HTML file that needs nothing else."""

from degeneracy.reporting.page import render, report

__all__ = ["render", "report"]
