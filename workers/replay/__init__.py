"""Going over the steps of a job once more: to look at one of them, or to prove that they were what they were.

A step depends on its number and the state before it, on nothing else. So one process that hosts all virtual
ranks comes to what any number of workers had come to. Nothing here writes into the job's own folder.
"""
