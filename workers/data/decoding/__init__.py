"""Decoding in processes beside the worker, for recipes whose Python would hold up its interpreter.

`pool` has the processes and hands them micro-batches, `start` and `child` are what runs in each, `wire`
carries records and batches between them. With threads (`workers.data.decoder`) the same code gives the same
batches.
"""
