"""Checkpoints as commits: immutable chunks named by content, and one small manifest that names its parent."""
