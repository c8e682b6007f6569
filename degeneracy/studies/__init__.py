"""Studies: conditions that differ in a factor, run from a file to a table; `running.py` is the flow, to read first."""
