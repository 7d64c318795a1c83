"""`lockstep serve`: the database, the control loop in a thread, and the API in the main thread.

Everything that runs belongs to the cluster: when the server ends, or is killed, jobs go on, and the next
server finds them.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from clusters import own, ray_cluster
from orchestrator.api.hosting import Listening
from orchestrator.scheduler import Config as SchedulerConfig
from orchestrator.service.launching import Launcher
from orchestrator.service.logs import JobLogs
from orchestrator.service.retention import Keep, Retention
from orchestrator.service.settings import read_settings
from orchestrator.store.database import Database
from orchestrator.store.states import HOLDING
from workers.errors import InputError, UnreachableError
from workers.storage import Store

if TYPE_CHECKING:  # these import Ray, which is set up first
    from orchestrator.service.controller import Controller
    from orchestrator.service.ray_executor import RayExecutor

_SERVER_ID = "server"
_STOP_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to serve.

    Attributes:
        names: by which it is called, beside its address.
        state: folder for all that is kept, unless it is elsewhere.
        database: URL; None for an SQLite file in the folder.
        bundles: URI of where jobs' folders are kept; None for a folder in there.
        cluster: "local" for a Ray of its own on this machine, "auto" or `host:port` to join one.
        keep: for how long events and the audit log are kept.
        scheduler: file with settings of the scheduler, in YAML: `orchestrator.scheduler.Config`.
    """

    listening: Listening
    names: tuple[str, ...] = ()
    state: Path
    database: str | None = None
    bundles: str | None = None
    cluster: str = "local"
    scheduler: Path | None = None
    keep: Keep = field(default_factory=Keep)


def serve(options: Options) -> None:
    """Until SIGTERM or Ctrl-C; jobs go on.

    Raises:
        InputError: an option is wrong, or another server has the folder, the database or the port.
        UnreachableError: the database or the cluster does not answer, or another server has taken over.
    """
    from orchestrator.api.app import create_app
    from orchestrator.api.binding import allowed_names, check_bind
    from orchestrator.api.config import Config
    from orchestrator.api.hosting import host, listen, own_token, url_of
    from orchestrator.service.control import ServiceControl
    from orchestrator.sessions import ServerSession, announced_server

    state = options.state.expanduser().absolute()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    where = options.listening
    config = read_settings(options.scheduler) if options.scheduler is not None else SchedulerConfig()
    with (
        _alone(state),
        Database(options.database or f"sqlite:///{state}/lockstep.db") as database,
        database.served(),
    ):
        with database.reading() as tx:
            tokens = len(tx.tokens.all())
        check_bind(where.host, tls=where.tls, behind_tls_proxy=where.behind_tls_proxy, tokens=tokens)
        with listen(where) as listener:
            bundles = Store(options.bundles or (state / "bundles").as_uri())
            logs = JobLogs(state / "logs")
            launcher = Launcher(bundles=bundles, folder=state / "unpacked", server=_server_id(database))
            with (
                _cluster(options.cluster, state, database),
                _loop(database, launcher, logs, config, options.keep) as (controller, executor),
            ):
                app = create_app(
                    database,
                    wake=controller.wake,
                    bundles=bundles,
                    config=Config(names=allowed_names(where.host, options.names), spool=state),
                    control=ServiceControl(database, controller, executor),
                    logs=logs,
                )
                secret = own_token(database, state, getpass.getuser(), time.time())
                url = url_of(where, listener)
                session = ServerSession(
                    url=url,
                    token=secret,
                    pid=os.getpid(),
                    certificate=str(where.tls_cert) if where.tls_cert is not None else None,
                )
                with announced_server(session):
                    host(
                        app, where, listener, lambda: print(f"serving at {url}", file=sys.stderr, flush=True)
                    )
                if controller.deposed is not None:
                    raise controller.deposed


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Two servers would each write what is in there. See `Database.served` for what is elsewhere."""
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            fix = "stop it first, or choose another folder with --state"
            raise InputError("another server uses this folder", where=str(state), fix=fix) from error
        yield


@contextmanager
def _cluster(which: str, state: Path, database: Database) -> Iterator[None]:
    """Connected to the cluster. When the server goes, one of its own goes too, unless a job is at work."""
    local = state / "ray.json"
    try:
        if which == "local":
            own.connect(local)
        else:
            ray_cluster.connect(which)
    except ray_cluster.ClusterNotFound as error:
        fix = "start one with `ray start --head`, or leave out --cluster for one on this machine"
        raise UnreachableError(f"no Ray cluster answers: {error}", where=which, fix=fix) from error
    try:
        yield
    finally:
        ray_cluster.disconnect()
    going_on = _at_work(database)
    if going_on:
        print(f"stopped; jobs that go on: {going_on}. The next server finds them", file=sys.stderr)
    elif going_on == 0 and which == "local":
        own.stop(local)


def _at_work(database: Database) -> int | None:
    """How many jobs have workers; None if that cannot be known."""
    try:
        with database.reading() as tx:
            counts = tx.jobs.count_by_state()
    except UnreachableError:
        return None
    return sum(counts[state] for state in HOLDING)


@contextmanager
def _loop(
    database: Database, launcher: Launcher, logs: JobLogs, config: SchedulerConfig, keep: Keep
) -> Iterator[tuple[Controller, RayExecutor]]:
    """The control loop, in a thread."""
    from orchestrator.service.controller import Controller
    from orchestrator.service.ray_executor import RayExecutor

    executor = RayExecutor(launcher, logs)
    controller = Controller(database, executor, config=config, retention=Retention(keep))
    executor.begin(controller.wake)
    thread = threading.Thread(target=_work, args=(controller,), name="controller", daemon=True)
    thread.start()
    try:
        yield controller, executor
    finally:
        controller.stop()
        executor.close()
        thread.join(_STOP_SECONDS)


def _work(controller: Controller) -> None:
    """Loop; without the loop there is nothing to serve."""
    controller.run()
    if controller.deposed is not None:
        signal.raise_signal(signal.SIGTERM)


def _server_id(database: Database) -> str:
    """Tells the supervisors of this database's jobs from those of other servers on the same cluster."""
    with database.transaction() as tx:
        found = tx.memory.load(_SERVER_ID)
        if found is None:
            found = secrets.token_hex(4)
            tx.memory.save(_SERVER_ID, found)
    return str(found)
