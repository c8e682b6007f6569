"""How states move: linear models of the step, from sums over trials or from delayed states."""
