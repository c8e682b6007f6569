"""Effects: what a factor does to each level, with verdicts, whose share it is, and whether it survives other checks."""
