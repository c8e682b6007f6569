"""Weights: how far apart two wirings are once what leaves a network the same has been undone."""
