"""Dynamics: whether states move alike, by operators (DSA), shapes and fixed points."""
