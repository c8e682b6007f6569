"""From members to numbers with intervals: jackknife, contrasts of conditions, verdicts."""
