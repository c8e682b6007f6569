"""Conjugation: how far apart two operators are once one has been turned into the other's coordinates."""
