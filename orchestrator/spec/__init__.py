"""The job file: what a user writes, checked and turned into one frozen `JobSpec` or `ScriptSpec`."""

from orchestrator.spec.load import check_job, load_job, load_recipe_job
from orchestrator.spec.model import JobSpec
from orchestrator.spec.problems import Problem, SpecError
from orchestrator.spec.script import ScriptSpec

__all__ = ["JobSpec", "Problem", "ScriptSpec", "SpecError", "check_job", "load_job", "load_recipe_job"]
