"""Matchings of units: the assignment problems behind weight distances, and how they are solved."""
