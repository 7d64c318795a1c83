"""A job's life as a pure state machine: `handle(state, event, now) -> (state, commands)`."""

from orchestrator.gang.adoption import adopt
from orchestrator.gang.machine import IllegalEvent, handle, start
from orchestrator.gang.policy import Policy
from orchestrator.gang.states import Ended, Gang, Outcome

__all__ = ["Ended", "Gang", "IllegalEvent", "Outcome", "Policy", "adopt", "handle", "start"]
