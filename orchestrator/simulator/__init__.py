"""Whole traces under fake time, with the scheduler that runs in production."""

from orchestrator.simulator.outcome import Outcome, outcome_of
from orchestrator.simulator.setting import Costs, Faults, Setting, machines
from orchestrator.simulator.simulation import Simulation
from orchestrator.simulator.trace import TraceJob, read_trace

__all__ = [
    "Costs",
    "Faults",
    "Outcome",
    "Setting",
    "Simulation",
    "TraceJob",
    "machines",
    "outcome_of",
    "read_trace",
]
