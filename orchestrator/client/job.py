"""A job that was handed in: behaves like a future."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.client.wire import Wire
from orchestrator.exit_codes import DONE, FAILED

_LOOK_SECONDS = 0.5
_ENDED = frozenset({"done", "failed", "cancelled"})


class Job:
    """One job of a server.

    Attributes:
        id, name: as the server knows it.

    Every method that asks the server raises `InputError` for what it refuses, `AccessError` where the token
    does not allow it, and `UnreachableError` if it is away for longer than the client's patience.
    """

    def __init__(self, wire: Wire, seen: Mapping[str, Any]) -> None:
        self._wire = wire
        self.id: str = seen["id"]
        self.name: str = seen["job"]
        self._path = f"/v1/jobs/{quote(self.id, safe='')}"

    def __repr__(self) -> str:
        return f"Job({self.name!r}, id={self.id!r})"

    def status(self) -> dict[str, Any]:
        """What it is doing, as `lockstep status --json` prints it."""
        seen: dict[str, Any] = self._wire.get(self._path)
        return seen

    def done(self) -> bool:
        """Whether it is over, well or not."""
        return self.status()["state"] in _ENDED

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Until it is over; its last status.

        Args:
            timeout: seconds; None for ever.

        Raises:
            TimeoutError: it is not over by then.
        """
        if timeout is None:
            for _ in self._wire.follow(f"{self._path}/events", self._newest()):
                pass
            return self.status()
        give_up_at = time.monotonic() + timeout
        while (seen := self.status())["state"] not in _ENDED:
            if time.monotonic() >= give_up_at:
                raise TimeoutError(f"job {self.name} is not over after {timeout:g} s")
            time.sleep(min(_LOOK_SECONDS, max(0.0, give_up_at - time.monotonic())))
        return seen

    def metrics(self) -> dict[str, float]:
        """What its last evaluation found, and the loss of its last step."""
        seen = self.status()
        values = {"loss": seen["loss"], **seen["metrics"]}
        return {name: float(value) for name, value in values.items() if value is not None}

    def explain(self) -> dict[str, Any]:
        """Why it waits: `explain` has code, sentence, facts, remedy, eta; None if it does not wait."""
        why: dict[str, Any] = self._wire.get(f"{self._path}/explain")
        return why

    def events(self, *, follow: bool = False, after: int = 0) -> Iterator[dict[str, Any]]:
        """What has happened to it, in order; with `follow` until it is over."""
        if follow:
            for message in self._wire.follow(f"{self._path}/events", after):
                yield message.data
            return
        while True:
            page = self._wire.get(f"{self._path}/events", after=after, limit=1000)
            yield from page["events"]
            if page["next"] == after:
                return
            after = page["next"]

    def logs(self, *, follow: bool = False, after: int = 0) -> Iterator[str]:
        """What its processes have written, in pieces; with `follow` until it is over."""
        if follow:
            for message in self._wire.follow(f"{self._path}/logs", after):
                yield message.data["text"]
            return
        while (piece := self._wire.get(f"{self._path}/logs", after=after))["text"]:
            yield piece["text"]
            after = piece["next"]

    def resize(
        self,
        workers: int | None = None,
        *,
        min_workers: int | None = None,
        max_workers: int | None = None,
    ) -> None:
        """Have exactly so many workers, or as many as there is room for within limits."""
        sizes = {"workers": workers, "min_workers": min_workers, "max_workers": max_workers}
        self._wire.post(f"{self._path}/resize", sizes)

    def pause(self) -> None:
        """Save, and give the room back."""
        self._wire.post(f"{self._path}/pause")

    def resume(self) -> None:
        """After a pause, go on when there is room."""
        self._wire.post(f"{self._path}/resume")

    def save(self) -> None:
        """Make a checkpoint at the next step."""
        self._wire.post(f"{self._path}/save")

    def cancel(self) -> None:
        """End; the last checkpoint stays."""
        self._wire.post(f"{self._path}/cancel")

    def _newest(self) -> int:
        """The number of its last event by now: what was before is no news."""
        after = 0
        while (page := self._wire.get(f"{self._path}/events", after=after, limit=1000))["events"]:
            after = page["next"]
            if page["over"]:
                break
        return after


def exit_code(status: Mapping[str, Any]) -> int:
    """What a command that waited for a job exits with."""
    if status["state"] == "done":
        return DONE
    outcome = status.get("outcome") or {}
    return int(outcome.get("exit_code") or FAILED)
