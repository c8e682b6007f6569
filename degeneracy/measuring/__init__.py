"""Measuring: what is recorded of an ensemble, or given as arrays, and what the measures find in it."""
