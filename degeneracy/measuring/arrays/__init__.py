"""Networks that are given as arrays: read and checked, made into a recording, measured."""
