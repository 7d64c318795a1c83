"""The service from Python: `from orchestrator import Client`."""

from orchestrator.client.client import Client
from orchestrator.client.job import Job

__all__ = ["Client", "Job"]
