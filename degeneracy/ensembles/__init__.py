"""Ensembles: trained networks that differ in their seed, made, run and kept in files."""
