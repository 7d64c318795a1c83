"""From the death of one worker to the next new step: ours, Ray Train and `torchrun`.

    python benchmarks/recovery.py [--kills 5] [--rounds 2] [--seed 0] [--only ray] [--width 96] [--freeze]

All sides train the demo's model with W = 3 workers of one thread; `--width` makes it, and so its step,
smaller. In each round each side runs for a while, one after the other; each suffers the same kills: SIGKILL
of the same ranks at the same moments within a step, the next one only after the job is whole again and has
done `UNDISTURBED` steps, and ours has had the time to start another standby. With `--freeze` it is SIGSTOP,
and ours alone: the peers wait for a frozen worker for minutes.

* signal to new step: until a step that was not done before is done by workers that came together anew.
* beyond a step: the same, less one median step of all workers: what recovering costs by itself.
* steps redone: done before the kill, and again after it.
* lost until new step: W x (signal to new step, less one median step), in worker-seconds.
* lost in all: W x (time from the last step before the kill to the `UNDISTURBED`th after the job was whole
  again, less one median step for each new step in it): slower steps while a worker was missing, starting its
  replacement beside them, and letting it in are all counted.
* whole again: signal to the first new step with all W workers.

Peers save each step's state to a local disk, and look at their workers every 0.1 s (Ray Train's default is
2 s). They have their data in memory, and each worker's share of the batch is one pass; ours streams its data,
runs 8 virtual ranks, and saves only as often as the demo does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from support.sessions import Entry, Session, Side

from orchestrator.spec import load_job

ROOT = Path(__file__).parents[1]
SUPPORT = ROOT / "benchmarks/support"
JOB = ROOT / "examples/text/job.yaml"

WORKERS = 3
STEPS = 1_000_000  # nobody comes that far
UNDISTURBED = 10
NO_STEP_TAKES = 0.25  # of a usual one
EVENTS = ("broken", "worker_lost", "formed", "ready")


@dataclass(frozen=True)
class Blow:
    """Whom to kill, and at which part of a step."""

    rank: int
    moment: float


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What one kill cost. Times in seconds."""

    recovered: float
    beyond: float
    whole: float
    redone: int
    lost: float
    lost_in_all: float
    step: float


def lockstep(data: str, width: int, folder: Path, log: Path) -> list[str]:
    """The command of our side."""
    settings = {
        "params.width": width, "params.steps": STEPS, "stop.steps": STEPS, "workers.cpus": 0.5,
        "evaluate": "null", "data.eval": "null", "data.train.uri": data,
        "checkpoint.uri": (folder / "runs").as_uri(),
    }  # fmt: skip
    overrides = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    command = [str(Path(sys.executable).with_name("lockstep")), "run", str(JOB), "--workers", str(WORKERS)]
    return [*command, "--metrics", "127.0.0.1:0", "--log", str(log), *overrides]


def task(width: int, folder: Path, log: Path) -> str:
    """What the peers train: the same job."""
    spec = load_job(JOB)
    params = {**spec.params, "steps": STEPS, "width": width}
    return json.dumps(
        {
            "folder": str(JOB.parent), "recipe": spec.recipe, "params": params,
            "batch": spec.batch.size, "log": str(log), "states": str(folder),
        }
    )  # fmt: skip


def ray_train(width: int, folder: Path, log: Path) -> list[str]:
    """The command of Ray Train's side."""
    return [sys.executable, str(SUPPORT / "ray_train.py"), str(WORKERS), task(width, folder, log)]


def torchrun(width: int, folder: Path, log: Path) -> list[str]:
    """The command of torchrun's side."""
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nnodes=1", "--max-restarts=100",
        f"--nproc-per-node={WORKERS}", "--monitor-interval=0.1", f"--log-dir={folder / 'torchrun'}",
        str(SUPPORT / "torchrun_elastic.py"), task(width, folder, log),
    ]  # fmt: skip


def sides(data: str, width: int) -> list[Side]:
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    peer = {**quiet, "PYTHONPATH": f"{ROOT}:{SUPPORT}"}
    is_ready = {
        "regrouped": lambda entry: entry["kind"] == "ready",
        "joined": lambda entry: entry["kind"] == "ready",
    }
    return [
        Side(
            name="lockstep",
            command=partial(lockstep, data, width),
            environment=quiet,
            regrouped=lambda entry: entry["kind"] == "formed" and entry["cause"] is None,
            joined=lambda entry: entry["kind"] == "formed" and entry["cause"] == "healed",
            rested=has_standby,
        ),
        Side(
            name="Ray Train",
            command=partial(ray_train, width),
            environment={**peer, "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1"},
            **is_ready,
        ),
        Side(  # by default torchrun 2.13 keeps one store for all restarts, and gloo finds dead peers in it
            name="torchrun",
            command=partial(torchrun, width),
            environment={**peer, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
            **is_ready,
        ),
    ]


def has_standby(entries: list[Entry]) -> bool:
    """Whether somebody stands by and was not taken yet."""
    pids = [e["reason"].split()[1] for e in entries if e["kind"] == "stands_by"]
    taken = {e["reason"].split()[1] for e in entries if e["kind"] == "ready"}
    return bool(pids) and pids[-1] not in taken


def suffer(side: Side, blows: list[Blow], how: signal.Signals) -> list[Recovery]:
    """Run one side, and send its workers this signal, one after another."""
    with tempfile.TemporaryDirectory() as folder, Session(side, Path(folder)) as session:
        session.wait(lambda: len(session.members()) == WORKERS or None, "all workers")
        calm(session, time.time())
        return [strike(session, blow, how) for blow in blows]


def calm(session: Session, since: float) -> list[float]:
    """Times of the first steps after `since`, when there are enough of them."""

    def look() -> list[float] | None:
        times = [when for _, when in session.steps() if when > since]
        return times if len(times) > UNDISTURBED else None

    return session.wait(look, "undisturbed steps")


def strike(session: Session, blow: Blow, how: signal.Signals) -> Recovery:
    """Kill or stop one worker of a calm job, and see what happens until it is calm again."""
    session.rest()
    calm(session, time.time())
    times = [when for _, when in session.steps()][-UNDISTURBED - 1 :]
    step = statistics.median(b - a for a, b in pairwise(times))
    members = session.members()
    names = {name for name, _ in members}
    count = len(session.steps())
    session.wait(lambda: len(session.steps()) > count or None, "a step boundary")
    time.sleep(blow.moment * step)
    killed = time.time()
    os.kill(members[blow.rank][1], how)

    def regrouped() -> float | None:
        return first(session.side.regrouped)

    def joined() -> float | None:
        return first(lambda entry: session.side.joined(entry) and entry["worker"] not in names)

    def first(fits: Callable[[Entry], bool]) -> float | None:
        return next((e["time"] for e in session.entries if e["time"] > killed and fits(e)), None)

    again = session.wait(regrouped, "workers that come together")
    calm_times = calm(session, session.wait(joined, "a replacement"))
    steps = session.steps()
    soonest = again + NO_STEP_TAKES * step  # what comes before was done by the workers of before
    before = [(number, when) for number, when in steps if when <= soonest]
    reached = max(number for number, _ in before)
    recovered = next(when for number, when in steps if when > soonest and number > reached)
    begin = max(((number, when) for number, when in steps if when <= killed), key=lambda done: done[1])
    end = next((number, when) for number, when in steps if when == calm_times[UNDISTURBED])
    found = Recovery(
        recovered=recovered - killed,
        beyond=recovered - killed - step,
        whole=max(recovered, calm_times[0]) - killed,
        redone=sum(when > soonest and number <= reached for number, when in steps),
        lost=WORKERS * (recovered - killed - step),
        lost_in_all=WORKERS * (end[1] - begin[1] - (end[0] - begin[0]) * step),
        step=step,
    )
    tell(session, blow, found, killed, recovered)
    return found


def tell(session: Session, blow: Blow, found: Recovery, killed: float, recovered: float) -> None:
    """A line for this kill, and when what was said until the new step."""
    said = [
        f"{entry['kind']} {entry['time'] - killed:.3f}"
        for entry in session.entries
        if killed < entry["time"] <= recovered and entry["kind"] in EVENTS
    ]
    print(
        f"{session.side.name:<10} rank {blow.rank} at {blow.moment:.2f} of a {found.step * 1e3:.0f} ms step: "
        f"new step {found.recovered:.3f} s, whole {found.whole:.2f} s, {found.redone} redone, "
        f"lost {found.lost_in_all:.2f} worker-s in all; load {os.getloadavg()[0]:.1f}; {', '.join(said)}",
        file=sys.stderr,
    )


def plan(kills: int, source: random.Random) -> list[Blow]:
    """Each rank as often as the others, in any order, at any moment of a step."""
    ranks = [number % WORKERS for number in range(kills)]
    source.shuffle(ranks)
    return [Blow(rank, source.random()) for rank in ranks]


def report(found: dict[str, list[Recovery]], load: tuple[float, ...], how: signal.Signals) -> None:
    """Medians and worst of each side, and what the peers' are as multiples of ours."""
    kills = len(next(iter(found.values())))
    cores = len(os.sched_getaffinity(0))
    print(f"\n{how.name} of one of {WORKERS} workers on {cores} cores, {kills} times each, median (worst)")
    before, after = (" ".join(f"{value:.1f}" for value in loads) for loads in (load, os.getloadavg()))
    print(f"load average of the machine before the first run: {before}; after the last, by itself: {after}")
    rows = {
        "signal to new step, s": ("recovered", "7.3f"),
        "beyond a step, s": ("beyond", "7.3f"),
        "whole again, s": ("whole", "7.2f"),
        "steps redone": ("redone", "7.1f"),
        "lost until new step, worker-s": ("lost", "7.2f"),
        "lost in all, worker-s": ("lost_in_all", "7.2f"),
        "undisturbed step, s": ("step", "7.3f"),
    }
    print(f"  {'':<30}" + "".join(f"{name:>20}" for name in found))
    for title, (field, form) in rows.items():
        values = {name: [getattr(kill, field) for kill in kills] for name, kills in found.items()}
        cells = (f"{statistics.median(v):{form}} ({max(v):{form}})" for v in values.values())
        print(f"  {title:<30}" + "".join(f"{cell:>20}" for cell in cells))
    ours, *peers = found
    for peer in peers:
        for title, field in (("signal to new step", "recovered"), ("lost in all", "lost_in_all")):
            mine, theirs = ([getattr(kill, field) for kill in found[name]] for name in (ours, peer))
            middle = statistics.median(theirs) / statistics.median(mine)
            print(
                f"  {peer} / {ours}, {title:<18}{middle:7.1f}   (worst / worst {max(theirs) / max(mine):.1f})"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--kills", type=int, default=5, help="of each side in each round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="sides whose name contains this")
    parser.add_argument("--width", type=int, default=load_job(JOB).params["width"], help="of the model")
    parser.add_argument(
        "--freeze", action="store_true", help="SIGSTOP them instead; the peers would wait for ever"
    )
    options = parser.parse_args()
    how = signal.SIGSTOP if options.freeze else signal.SIGKILL
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and so end what runs
    load, source = os.getloadavg(), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(JOB.parent / "prepare.py"), folder], check=True)
        compared = [
            side
            for side in sides(f"file://{folder}/train", options.width)
            if options.only in side.name and (not options.freeze or side.name == "lockstep")
        ]
        found: dict[str, list[Recovery]] = {side.name: [] for side in compared}
        for number in range(options.rounds):
            blows = plan(options.kills, source)
            for side in compared if number % 2 == 0 else compared[::-1]:
                found[side.name] += suffer(side, blows, how)
    report(found, load, how)


if __name__ == "__main__":
    main()
