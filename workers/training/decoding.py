"""Who decodes a job's samples: threads of the worker, or processes beside it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from workers.data.decoder import BatchDecoder, Decoder
from workers.data.decoding.pool import ProcessDecoder
from workers.numerics import environment
from workers.protocol import TrainJob
from workers.recipe import Recipe
from workers.training.recipes import load_recipe


def open_decoder(job: TrainJob, recipe: Recipe) -> BatchDecoder:
    """What turns the job's records into batches, for training and evaluation alike.

    Args:
        recipe: the worker's. Processes load one of their own.
    """
    if not job.decode_processes:
        return Decoder(recipe, job.seed)
    # They look for modules where this process does: the job's own are there already.
    return ProcessDecoder(partial(_load, replace(job, sources={})), job.seed, job.decode_processes)


def _load(job: TrainJob) -> Recipe:
    """In a decode process: the recipe, in a process whose arithmetic is the worker's."""
    environment.pin(job.threads, "cpu")
    return load_recipe(job)
