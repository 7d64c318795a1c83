"""A job's worker processes on a Ray cluster, and what is kept ready for them."""
