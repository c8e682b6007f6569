"""Runs: a study trained, measured and written into its directory; `running.py` is the flow, to read first."""
