"""Ensembles of PyTorch modules made elsewhere: as cells of this package where they are such, else as they are."""
