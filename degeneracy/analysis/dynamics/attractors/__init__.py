"""What states run into: fixed points and cycles, and which inputs lead from one to another."""
