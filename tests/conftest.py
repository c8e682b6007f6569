"""Puts this folder on the path (pytest does so for a folder with a conftest), so that tests share `synthetic`."""

import torch

# One thread per process: two processes of pytest share the cores, and torch's threads wait for each other on busy ones.
torch.set_num_threads(1)
