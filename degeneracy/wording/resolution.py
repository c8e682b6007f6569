"""What is said of values that are mostly floor."""

from collections.abc import Mapping

import numpy as np

from degeneracy.analysis.measure import Finding
from degeneracy.analysis.statistics.resolution import floor_share, resolved, upper_share


def not_resolved(findings: Mapping[str, Finding]) -> str:
    """That findings are mostly floor, with the condition where most, and how large any can be; "" where none is.

    Args:
        findings: by condition.
    """
    shares = {name: floor_share(finding) for name, finding in findings.items() if not resolved(finding)}
    if not shares:
        return ""
    worst = max(shares, key=shares.__getitem__)
    part = "all" if shares[worst] >= 1 else f"{shares[worst]:.0%}"
    said = f"not resolved: the floor is {part} of the value" + (f" in {worst}" if len(findings) > 1 else "")
    most = max(upper_share(finding) for finding in findings.values())
    if np.isfinite(most):
        said += f"; without it the value is at most {most:.0%} of the reference (one-sided 95%)"
    return said
