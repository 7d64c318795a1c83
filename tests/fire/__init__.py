"""Bits under fire: whole jobs of real processes that are killed, frozen, resized and drained at random.

python -m tests.fire --seeds 50            # a failing seed prints the command that repeats it
"""
