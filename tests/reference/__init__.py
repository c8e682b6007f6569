"""Plainer ways to the numbers of compiled code, in torch: what tests compare it with."""
