"""The job file: what a user writes, checked and turned into one frozen `JobSpec`."""

from orchestrator.spec.load import load_job
from orchestrator.spec.model import JobSpec
from orchestrator.spec.problems import Problem, SpecError

__all__ = ["JobSpec", "Problem", "SpecError", "load_job"]
