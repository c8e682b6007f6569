"""Statistics of measures: intervals, contrasts of conditions, verdicts, families of members."""
