"""`lockstep queue`, `token`, `node`, `audit`: for whoever looks after a server."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from orchestrator.cli.options import AsJson, Server, print_json
from orchestrator.cli.options import server as reach_server

queue = typer.Typer(help="Queues of a server: list, set, delete.", no_args_is_help=True)
token = typer.Typer(help="Tokens of a server: create, list, revoke.", no_args_is_help=True)
node = typer.Typer(help="Nodes of a server's cluster: list, drain.", no_args_is_help=True)

_DAY_SECONDS = 86_400
Amount = Annotated[list[str] | None, typer.Option(metavar="KIND=AMOUNT", help="Such as gpus=8 or cpus=64.")]
QueueName = Annotated[str, typer.Argument(metavar="QUEUE")]


@queue.command("list")
def list_queues(server: Server = None, as_json: AsJson = False) -> None:
    """All queues that your token shows, and what each has at the moment."""
    with reach_server(server) as client:
        found = client.wire.get("/v1/summary")["queues"]
    if as_json:
        for each in found:
            print_json(each)
        return
    from orchestrator.cli.tables import print_queues

    print_queues(found)


@queue.command("set")
def set_queue(
    name: QueueName,
    weight: Annotated[int, typer.Option(min=1, help="Its part of what is shared.")] = 1,
    quota: Amount = None,
    limit: Amount = None,
    user_limit: Amount = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Add a queue, or replace its settings: a quota it always gets back, a limit it never exceeds."""
    from orchestrator.cli.amounts import amounts

    settings: dict[str, Any] = {
        "weight": weight,
        "quota": amounts(quota, "--quota") if quota else None,
        "limit": amounts(limit, "--limit"),
        "user_limit": amounts(user_limit, "--user-limit"),
    }
    with reach_server(server) as client:
        made = client.wire.put(f"/v1/queues/{_safe(name)}", settings)
    print_json(made) if as_json else print(f"{name}: set")


@queue.command("delete")
def delete_queue(name: QueueName, server: Server = None, as_json: AsJson = False) -> None:
    """Remove a queue that has no jobs."""
    with reach_server(server) as client:
        client.wire.delete(f"/v1/queues/{_safe(name)}")
    print_json({"queue": name}) if as_json else print(f"{name}: removed")


@token.command("create")
def create_token(
    user: Annotated[str, typer.Option(help="Whose it is.")],
    role: Annotated[str, typer.Option(help="viewer, submitter or admin.")] = "submitter",
    queues: Annotated[
        list[str] | None,
        typer.Option("--queue", help="Good for this queue; may be given again. Default: all."),
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0.001, help="Good for so long; for ever if left out.")
    ] = None,
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="Write into a database, before its server runs.")
    ] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Make a token; its secret is printed once and kept nowhere."""
    new = {
        "user": user,
        "role": role,
        "queues": queues,
        "expires_at": None if days is None else time.time() + days * _DAY_SECONDS,
    }
    if database is not None:
        from orchestrator.api.tokens import create_in_database

        made = create_in_database(database, new)
    else:
        with reach_server(server) as client:
            made = client.wire.post("/v1/tokens", new, again=False)
    if as_json:
        print_json(made)
        return
    print(f"token {made['id']} for {user}: keep it, it cannot be shown again", file=sys.stderr)
    print(made["secret"])


@token.command("list")
def list_tokens(server: Server = None, as_json: AsJson = False) -> None:
    """All tokens there ever were, without their secrets."""
    with reach_server(server) as client:
        found = client.wire.get("/v1/tokens")["tokens"]
    if as_json:
        for each in found:
            print_json(each)
        return
    from orchestrator.cli.tables import print_tokens

    print_tokens(found, time.time())


@token.command("revoke")
def revoke_token(
    id: Annotated[str, typer.Argument(metavar="ID", help="As the list has it.")],
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Make a token good for nothing, at once."""
    with reach_server(server) as client:
        revoked = client.wire.delete(f"/v1/tokens/{_safe(id)}")
    print_json(revoked) if as_json else print(f"{id}: revoked")


@node.command("list")
def list_nodes(server: Server = None, as_json: AsJson = False) -> None:
    """The cluster's nodes, as the server saw them last."""
    with reach_server(server) as client:
        found = client.wire.get("/v1/nodes")["nodes"]
    if as_json:
        for each in found:
            print_json(each)
        return
    from orchestrator.cli.tables import print_nodes

    print_nodes(found)


@node.command("drain")
def drain_node(
    id: Annotated[str, typer.Argument(metavar="NODE", help="Its id, or its name.")],
    within: Annotated[float, typer.Option(help="Seconds until its workers must be gone.")] = 60.0,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Move all workers away from a node; no more go there."""
    with reach_server(server) as client:
        client.wire.post(f"/v1/nodes/{_safe(id)}/drain", {"seconds": within})
    print_json({"node": id, "seconds": within}) if as_json else print(f"{id} is drained within {within:g} s")


def audit(
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most.")] = 50,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Who did, or tried to do, what on a server, when, and from where; the newest first."""
    with reach_server(server) as client:
        found = client.wire.get("/v1/audit", limit=limit)["entries"]
    if as_json:
        for each in found:
            print_json(each)
        return
    from orchestrator.cli.tables import print_audit

    print_audit(found)


def _safe(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")
