"""Runs the program of a script job: one process for each rank, its output, its end."""
