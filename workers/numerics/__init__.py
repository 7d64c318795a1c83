"""What every bit depends on: the fixed tree, random streams, the environment, and how tensors travel."""
