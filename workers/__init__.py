"""Trains: the recipe a user writes, the engine that runs it, its data plane and its checkpoints."""

from workers.recipe import Recipe

__all__ = ["Recipe"]
