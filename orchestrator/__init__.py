"""Decides: what a job is, where it runs, what happens when something breaks. Never imports torch."""
