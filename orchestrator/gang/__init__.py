"""A job's life as a pure state machine: `handle(state, event) -> (state, commands)`."""

from orchestrator.gang.machine import handle, start
from orchestrator.gang.states import Ended, Outcome, Starting, State, Training

__all__ = ["Ended", "Outcome", "Starting", "State", "Training", "handle", "start"]
