"""Tuning: the strength of a knob that brings a measure to a chosen value."""
