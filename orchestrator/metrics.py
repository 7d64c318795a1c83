"""Prometheus metrics of running jobs: one collector that reads their state when it is scraped.

Nothing is counted here, so nothing can be counted twice, and the series of a job disappear with it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Generic, TypeVar

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from orchestrator.records.facts import JobState, WorkerState, WorkerStatus
from orchestrator.records.pace import BOUNDS
from orchestrator.records.status import JobStatus, JobView
from workers.errors import InputError

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

DEFAULT_ADDRESS = "127.0.0.1:9464"  # the port that the OpenTelemetry Prometheus exporter made customary


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Number(Generic[T]):
    """A metric with one value per job, or per worker; None leaves it out."""

    name: str
    help: str
    read: Callable[[T], float | None]
    counter: bool = False


_JOB_NUMBERS: tuple[_Number[JobStatus], ...] = (
    _Number(name="job_step", help="Last committed step.", read=lambda s: s.step),
    _Number(name="job_steps_target", help="Step at which the job is done.", read=lambda s: s.steps),
    _Number(name="job_epoch", help="Epoch of the last committed step.", read=lambda s: s.epoch),
    _Number(name="job_loss", help="Loss of the last committed step.", read=lambda s: s.loss),
    _Number(
        name="samples",
        help="Samples trained on, those of redone steps again.",
        read=lambda s: s.samples_trained,
        counter=True,
    ),
    _Number(
        name="redone_steps",
        help="Steps that were begun and had to be done again.",
        read=lambda s: s.redone_steps,
        counter=True,
    ),
    _Number(
        name="disagreements",
        help="Numbers on which two workers disagreed for one step: a broken promise.",
        read=lambda s: len(s.disagreements),
        counter=True,
    ),
    _Number(
        name="generations",
        help="Memberships that the job has had: 1, and one more for each loss or resize.",
        read=lambda s: s.generations,
        counter=True,
    ),
    _Number(
        name="checkpoints_committed",
        help="Checkpoints committed by this run.",
        read=lambda s: s.checkpoints,
        counter=True,
    ),
    _Number(
        name="checkpoint_written_bytes",
        help="Bytes of checkpoint chunks that this run's workers have written.",
        read=lambda s: s.written_bytes,
        counter=True,
    ),
    _Number(
        name="checkpoints_skipped",
        help="Checkpoints that were not made since the one before was still on its way.",
        read=lambda s: s.saves_skipped,
        counter=True,
    ),
    _Number(
        name="checkpoint_save_seconds",
        help="From the newest checkpoint's step until its chunks were durable, on the slowest worker.",
        read=lambda s: s.save_times.seconds,
    ),
    _Number(
        name="checkpoint_stall_seconds",
        help="Of these, while training stood still.",
        read=lambda s: s.save_times.stalled,
    ),
    _Number(
        name="checkpoint_last_step",
        help="Step of the last checkpoint that was committed.",
        read=lambda s: s.checkpoint.step if s.checkpoint else None,
    ),
)

_WORKER_NUMBERS: tuple[_Number[WorkerStatus], ...] = (
    _Number(
        name="worker_virtual_ranks",
        help="Virtual ranks that the worker hosts in the current generation.",
        read=lambda w: len(w.vranks),
    ),
    _Number(
        name="worker_cpu_seconds",
        help="CPU time that the worker has used.",
        read=lambda w: w.usage.cpu_seconds if w.usage else None,
        counter=True,
    ),
    _Number(
        name="worker_memory_bytes",
        help="Resident memory of the worker.",
        read=lambda w: w.usage.memory_bytes if w.usage else None,
    ),
    _Number(
        name="worker_gpu_utilisation_ratio",
        help="Part of the time, 0 to 1, that the worker's GPU was busy.",
        read=lambda w: w.usage.gpu_utilisation if w.usage else None,
    ),
    _Number(
        name="worker_gpu_memory_bytes",
        help="Memory in use on the worker's GPU.",
        read=lambda w: w.usage.gpu_memory_bytes if w.usage else None,
    ),
)


class JobsCollector(Collector):
    """Turns the jobs of the moment into metric families.

    Args:
        jobs: called at each scrape, in the server's thread: a view of each job to show.
    """

    def __init__(self, jobs: Callable[[], Iterable[JobView]]) -> None:
        self._jobs = jobs

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering the collector must not ask for jobs."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All metric families, also those that have no series at the moment."""
        views = list(self._jobs())
        statuses = [view.status for view in views]
        yield _info(statuses)
        yield _job_states(statuses)
        yield _step_seconds(statuses)
        yield _goodput(views)
        yield _worker_states(statuses)
        for number in _JOB_NUMBERS:
            family = _family(number.name, number.help, ["job"], counter=number.counter)
            for status in statuses:
                _add(family, [status.job], number.read(status))
            yield family
        for worker_number in _WORKER_NUMBERS:
            family = _family(
                worker_number.name, worker_number.help, ["job", "worker"], counter=worker_number.counter
            )
            for status in statuses:
                for worker in status.workers.values():
                    _add(family, [status.job, worker.id], worker_number.read(worker))
            yield family


class MetricsServer:
    """Serves `/metrics` from a thread of this process.

    Args:
        jobs: as for `JobsCollector`.
        address: `host:port`. When the port is taken, another one is used and `notice` says so.

    Raises:
        InputError: the address is none, or is not this machine's.
    """

    def __init__(self, jobs: Callable[[], Iterable[JobView]], address: str = DEFAULT_ADDRESS) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(JobsCollector(jobs))
        self._host, self._port = _parse(address)
        self.notice: str | None = None

    def start(self) -> str:
        """Start serving; returns the URL to scrape."""
        try:
            self._server, self._thread = start_http_server(self._port, self._host, self._registry)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                fix = f"use an address of this machine, such as {DEFAULT_ADDRESS}"
                where = f"{self._host}:{self._port}"
                raise InputError(f"cannot listen: {error.strerror}", where=where, fix=fix) from error
            self._server, self._thread = start_http_server(0, self._host, self._registry)
            self.notice = f"port {self._port} is taken: metrics are on port {self._server.server_port}"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._server.server_port}/metrics"

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _family(name: str, help: str, labels: list[str], *, counter: bool = False) -> Metric:
    kind = CounterMetricFamily if counter else GaugeMetricFamily
    return kind(f"lockstep_{name}", help, labels=labels)


def _add(family: Metric, labels: list[str], value: float | None) -> None:
    if value is not None:
        family.add_metric(labels, value)  # type: ignore[attr-defined]


def _info(statuses: list[JobStatus]) -> Metric:
    family = _family("job_info", "What the job promises about bits.", ["job", "numerics"])
    for status in statuses:
        _add(family, [status.job, status.numerics], 1)
    return family


def _job_states(statuses: list[JobStatus]) -> Metric:
    family = _family("job_state", "1 for the state that the job is in, 0 for the others.", ["job", "state"])
    for status in statuses:
        for state in JobState:
            _add(family, [status.job, state.value], status.state is state)
    return family


def _worker_states(statuses: list[JobStatus]) -> Metric:
    text = "1 for the state that the worker is in, 0 for the others."
    family = _family("worker_state", text, ["job", "worker", "state"])
    for status in statuses:
        for worker in status.workers.values():
            for state in WorkerState:
                _add(family, [status.job, worker.id, state.value], worker.state is state)
    return family


def _step_seconds(statuses: list[JobStatus]) -> Metric:
    family = HistogramMetricFamily("lockstep_step_seconds", "Wall time of a step.", labels=["job"])
    bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
    for status in statuses:
        buckets = list(zip(bounds, accumulate(status.pace.buckets), strict=True))
        family.add_metric([status.job], buckets, status.pace.step_seconds)
    return family


def _goodput(views: list[JobView]) -> Metric:
    """A gauge, although it is about seconds that have passed: work that is thrown away changes category."""
    text = "Worker-seconds so far by category; together they are all that elapsed. Use delta(), not rate()."
    family = _family("goodput_seconds", text, ["job", "category"])
    for view in views:
        for activity, seconds in view.goodput.seconds.items():
            _add(family, [view.status.job, activity.value], seconds)
    return family


def _parse(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError("not an address", where=address or "(empty)", fix=f"write it as {DEFAULT_ADDRESS}")
    return host.strip("[]"), int(port)
