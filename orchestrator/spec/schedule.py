"""What a job asks of the scheduler: where its workers may be, and when they may be taken away."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.spec.fields import Section, Time


class Schedule(Section):
    """For a server; `lockstep run` starts the job at once, wherever there is room."""

    nodes: dict[str, str] = Field(
        default_factory=dict, description="Labels that a node must have, such as `{gpu: h100}`."
    )
    within: Literal["anywhere", "zone", "node"] = Field(
        default="anywhere", description="What all workers have to share: anywhere, zone or node."
    )
    preemptible: bool = Field(
        default=True, description="It may be saved and stopped for others, and goes on later."
    )
    min_runtime: Time | None = Field(default=None, description="How long it runs before it may be stopped.")
    estimate: Time | None = Field(
        default=None, description="How long it takes on workers.min; others can be promised a start then."
    )
    deadline: Time | None = Field(default=None, description="When it should be done, from its submission on.")
