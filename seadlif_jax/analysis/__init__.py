"""Analysis of neurons and trained networks: stability, sensitivity, gradients, synaptic operations, robustness."""
