"""`lockstep simulate`: a trace of jobs under the real scheduler, in fake time."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from orchestrator.scheduler import Policy
    from orchestrator.simulator.compare import Study
    from orchestrator.simulator.trace import TraceJob


class PolicyName(StrEnum):
    """See docs/scheduler.md."""

    PRIORITY = "priority"
    FAIR = "fair"
    SERVICE = "service"
    ELASTIC = "elastic"
    DEADLINE = "deadline"


class SharesName(StrEnum):
    """How queues share the cluster."""

    EQUAL = "equal"
    DEMAND = "demand"


def simulate(
    trace: Annotated[Path, typer.Argument(metavar="TRACE.csv", help="Jobs; see docs/simulator.md.")],
    nodes: Annotated[int, typer.Option(min=1, help="How many there are.")],
    gpus_per_node: Annotated[int, typer.Option(min=1, help="GPUs of each.")] = 8,
    policy: Annotated[PolicyName, typer.Option(help="Who comes first.")] = PolicyName.PRIORITY,
    compare: Annotated[
        str, typer.Option(metavar="P,P,...", help="More policies, on the same jobs and accidents.")
    ] = "",
    generate: Annotated[
        int | None, typer.Option(min=1, metavar="JOBS", help="Write a random TRACE.csv first.")
    ] = None,
    load: Annotated[
        float, typer.Option(min=0.01, help="Of what the cluster can do, what --generate submits.")
    ] = 0.8,
    begin: Annotated[float, typer.Option("--from", help="Leave out what was submitted before.")] = 0.0,
    elastic: Annotated[
        int, typer.Option(min=0, help="Every job may use 1 to so many times its GPUs, and loses nothing.")
    ] = 0,
    shares: Annotated[SharesName, typer.Option(help="What each queue's part is.")] = SharesName.EQUAL,
    fairness: Annotated[
        bool, typer.Option(help="Simulate each queue on its own share too, for comparison.")
    ] = True,
    round_seconds: Annotated[
        float, typer.Option("--round", min=0, help="Arrivals and ends are noticed so often; 0: at once.")
    ] = 0.0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="a.b=c", help="Costs, faults, nodes, policy: see docs/simulator.md."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of accidents, lots, and --generate.")] = 0,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the comparison.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object on stdout.")] = False,
) -> None:
    """Run a trace through the scheduler: how long jobs took, how full the cluster was, how fair it was."""
    from orchestrator.simulator.compare import Shares, Study
    from orchestrator.simulator.options import parse

    options = parse(settings or [])
    policies = _policies(policy, compare)
    if generate is not None:
        _generate(trace, generate, nodes * gpus_per_node, load, seed)
    jobs = _jobs(trace, begin, elastic)
    study = Study(
        jobs=jobs,
        nodes=nodes,
        gpus_per_node=gpus_per_node,
        options=options,
        shares=Shares(shares),
        fairness=fairness,
        round_seconds=round_seconds,
        seed=seed,
    )
    _tell(study, policies, plot, as_json)


def _policies(policy: PolicyName, compare: str) -> list[Policy]:
    from orchestrator.scheduler import Policy
    from workers.errors import InputError

    found = [Policy(policy)]
    for name in filter(None, (part.strip() for part in compare.split(","))):
        if name not in tuple(Policy):
            raise InputError(
                f"there is no policy {name}", where=f"--compare {compare}", fix=f"use {', '.join(Policy)}"
            )
        if Policy(name) not in found:
            found.append(Policy(name))
    return found


def _generate(trace: Path, count: int, gpus: int, load: float, seed: int) -> None:
    from orchestrator.simulator.generate import generate, write_trace
    from workers.errors import InputError

    try:
        write_trace(trace, generate(count, gpus=gpus, load=load, seed=seed))
    except FileExistsError:
        fix = "name another file, or leave out --generate"
        raise InputError("the file exists", where=str(trace), fix=fix) from None
    except OSError as error:
        raise InputError(f"it cannot be written: {error}", where=str(trace)) from error


def _jobs(trace: Path, begin: float, stretch: int) -> list[TraceJob]:
    from orchestrator.simulator.trace import elastic, read_trace
    from workers.errors import InputError

    jobs = [job for job in read_trace(trace) if job.submitted_at >= begin]
    if not jobs:
        raise InputError(f"nothing was submitted from {begin:g} on", where=str(trace), fix="a smaller --from")
    return elastic(jobs, stretch) if stretch else jobs


def _tell(study: Study, policies: list[Policy], plot: Path | None, as_json: bool) -> None:
    from orchestrator.cli.simulation_view import as_object, table
    from orchestrator.simulator.plot import picture
    from workers.errors import InputError

    runs, outcomes = {}, {}
    for policy, simulation, outcome in study.run(policies):
        runs[str(policy)], outcomes[str(policy)] = simulation, outcome
        print(f"{policy}: {outcome.finished} jobs, {outcome.cycles} plans", file=sys.stderr)
    if plot is not None:
        try:
            plot.write_text(picture(runs), encoding="utf-8")
        except OSError as error:
            raise InputError(f"it cannot be written: {error}", where=f"--plot {plot}") from error
    result: dict[str, Any] = {name: as_object(outcome) for name, outcome in outcomes.items()}
    print(json.dumps({"policies": result}) if as_json else table(outcomes))
