"""Behavior: how differently members answer, on trials like those trained on and on others."""
