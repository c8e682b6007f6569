"""The measures: arrays and plain functions in, numbers with intervals out."""
