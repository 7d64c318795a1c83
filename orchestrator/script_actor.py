"""The supervisor of a script job as a Ray actor: it belongs to nobody, so it outlives whoever started it.

Ray starts it again where it died; it then finds the job's ranks by name, and goes on with them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import ray

from orchestrator.bundles import fetch
from orchestrator.crew.script_crew import RayScriptCrew
from orchestrator.gang.events import Wish
from orchestrator.job_actor import LINGER_SECONDS, actor_name
from orchestrator.records.news import News
from orchestrator.scripts.host import ScriptHost
from orchestrator.scripts.job import Policy, ScriptJob
from orchestrator.scripts.supervisor import Crew
from workers.script.protocol import Recollection
from workers.storage import Store


@dataclass(frozen=True, kw_only=True)
class ScriptAssignment:
    """All that the supervisor of a script job is told, also one that has to start again.

    Attributes:
        job: what to run.
        namespace: Ray's name space for all of it.
        policy: how patient to be with ranks.
        workers, places: how many ranks it should have, and on which nodes; None where the cluster chooses.
        store, bundle: where the job's folder is kept, packed, and its SHA-256; see `orchestrator.bundles`.
        notes: what whoever started the job should know.
        submitted: seconds since the epoch.
        metrics_address: where the job's metrics can be scraped.
        tag, number: see `orchestrator.job_actor.Assignment`.
    """

    job: ScriptJob
    namespace: str
    policy: Policy
    workers: int
    store: str | None
    bundle: str | None
    notes: tuple[str, ...]
    submitted: float
    places: Mapping[str, int] | None = None
    metrics_address: str | None = None
    tag: str | None = None
    number: int = 0

    @property
    def actor(self) -> str:
        """The supervisor's name in Ray."""
        return actor_name(self.job.name, self.tag)


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0)
class ScriptJobActor:
    """One script job's supervisor, with the methods of `JobActor`."""

    def __init__(self, assignment: ScriptAssignment) -> None:
        again = ray.get_runtime_context().was_current_actor_reconstructed
        self._host = ScriptHost(
            assignment.job,
            assignment.policy,
            lambda: _crew(assignment),
            workers=assignment.workers,
            places=assignment.places,
            notes=assignment.notes,
            submitted=assignment.submitted,
            metrics_address=assignment.metrics_address,
            number=assignment.number,
            adopt=_adopt if again else None,
        )
        if assignment.tag is None:
            threading.Thread(target=self._linger, args=(assignment,), daemon=True).start()

    def follow(self, incarnation: str, position: int, timeout: float) -> News:
        """See `JobActor.follow`."""
        return self._host.follow(incarnation, position, timeout)

    def wish(self, wish: Wish) -> str | None:
        """See `JobActor.wish`."""
        return self._host.wish(wish)

    def nodes(self) -> dict[str, str]:
        """See `JobActor.nodes`."""
        return self._host.nodes()

    def story(self) -> list[str]:
        """See `JobActor.story`."""
        return self._host.story()

    def _linger(self, assignment: ScriptAssignment) -> None:
        self._host.wait()
        time.sleep(LINGER_SECONDS)
        ray.kill(ray.get_actor(assignment.actor, assignment.namespace))


def _crew(assignment: ScriptAssignment) -> Crew:
    archive = None
    if assignment.store is not None and assignment.bundle is not None:
        archive = fetch(Store(assignment.store), assignment.bundle)
    return RayScriptCrew(assignment.job, assignment.namespace, assignment.bundle, archive)


def _adopt(crew: Crew) -> list[Recollection]:
    return crew.adopt() if isinstance(crew, RayScriptCrew) else []
