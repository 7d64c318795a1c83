"""The engine of one worker: a replica of the job's state, one step, and the loop around it."""
