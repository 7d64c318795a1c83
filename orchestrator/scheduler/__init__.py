"""What runs where, as a pure function: `plan(snapshot, config) -> Plan`."""

from orchestrator.scheduler.actions import Plan
from orchestrator.scheduler.config import Config, Policy
from orchestrator.scheduler.plan import plan
from orchestrator.scheduler.recheck import recheck
from orchestrator.scheduler.snapshot import Snapshot

__all__ = ["Config", "Plan", "Policy", "Snapshot", "plan", "recheck"]
