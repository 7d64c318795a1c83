"""Tables for whoever looks after a server. From the API's JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.cli.amounts import words
from orchestrator.cli.columns import Column, Columns, console_for
from orchestrator.cli.job_view import clock

Row = Mapping[str, Any]


def print_queues(queues: Sequence[Row]) -> None:
    """Queues: settings, and what they have."""
    _print(queues_table(queues))


def queues_table(queues: Sequence[Row]) -> Columns:
    """A line for each queue."""
    heads = ("queue", "weight", "quota", "limit", "each user", "in use", "running", "waiting")
    rows = [
        (
            each["id"],
            str(each["weight"]),
            words(each["quota"]),
            words(each["limit"]),
            words(each["user_limit"]),
            words(each["used"]),
            str(sum(each["states"].get(state, 0) for state in ("starting", "running", "stopping"))),
            str(each["states"].get("queued", 0)),
        )
        for each in queues
    ]
    return _table(heads, rows, spare=("weight", "each user", "limit", "quota"))


def print_nodes(nodes: Sequence[Row]) -> None:
    """Nodes: what they have, and what of it is in use."""
    _print(nodes_table(nodes))


def nodes_table(nodes: Sequence[Row]) -> Columns:
    """A line for each node."""
    rows = [
        (
            each["name"] or each["id"][:12],
            each["state"],
            each["zone"],
            words(each["capacity"]),
            words(each["used"]),
            str(each["workers"]),
        )
        for each in nodes
    ]
    return _table(("node", "state", "zone", "has", "in use", "workers"), rows, spare=("zone", "has"))


def print_tokens(tokens: Sequence[Row], now: float) -> None:
    """Tokens: whose, and whether they are good."""
    _print(
        _table(
            ("id", "user", "role", "queues", "made", "state"),
            [
                (
                    each["id"],
                    each["user"],
                    each["role"],
                    "all" if each["queues"] is None else ", ".join(each["queues"]),
                    clock(each["created_at"]),
                    _goodness(each, now),
                )
                for each in tokens
            ],
        )
    )


def print_audit(entries: Sequence[Row]) -> None:
    """The audit log."""
    _print(
        _table(
            ("time", "who", "from", "", "what", "target", "detail"),
            [
                (
                    clock(each["time"]),
                    each["who"] or "-",
                    each["address"],
                    "ok" if each["allowed"] else "refused",
                    each["action"],
                    each["target"],
                    each["detail"],
                )
                for each in entries
            ],
        )
    )


def _goodness(token: Row, now: float) -> str:
    if token["revoked_at"]:
        return f"revoked {clock(token['revoked_at'])}"
    if token["expires_at"] is None:
        return "good"
    return f"{'good until' if token['expires_at'] > now else 'expired'} {clock(token['expires_at'])}"


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    spare: Sequence[str] = (),
    rest: str | None = None,
) -> Columns:
    """Of columns that are spare, the first goes first where there is no room."""
    from rich.text import Text

    cells = list(zip(*rows, strict=True)) or [()] * len(heads)
    places = {head: len(spare) - number for number, head in enumerate(spare)}
    return Columns(
        [
            Column(
                head=head, cells=[Text(cell) for cell in column], spare=places.get(head, 0), rest=head == rest
            )
            for head, column in zip(heads, cells, strict=True)
        ]
    )


def _print(table: Columns) -> None:
    console_for().print(table)
