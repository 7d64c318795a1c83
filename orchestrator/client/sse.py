"""Server-sent events: lines → messages. Pure; the format is the HTML standard's, section 9.2.6."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Message:
    """One event; `id` is what a follower who comes back begins after."""

    event: str
    data: Any
    id: int | None


def parse(lines: Iterable[str]) -> Iterator[Message]:
    """The messages in lines without their ends. One that was cut off is none."""
    event, id = "", None
    data: list[str] = []
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Message(event=event, data=json.loads("\n".join(data)), id=id)
            event, data, id = "", [], None
        elif name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "id" and value.isdecimal():
            id = int(value)
