"""Measure and control solution degeneracy in task-trained recurrent networks."""
