"""Ways to take gradients: autograd, a hand-written backward, compiled kernels, CUDA graphs."""
