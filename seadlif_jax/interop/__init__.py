"""Networks and runs from other programs: the authors' PyTorch checkpoints."""
