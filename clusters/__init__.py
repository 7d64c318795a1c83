"""Provides: where nodes come from, and what they have."""
