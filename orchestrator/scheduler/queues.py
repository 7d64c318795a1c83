"""What queues and users use, may use, and can get back: limits, quotas and shares."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from orchestrator.scheduler.at_work import Worker
from orchestrator.scheduler.reasons import Code, Fact, Reason
from orchestrator.scheduler.snapshot import KINDS, Amounts, Job, Limit, Queue

#: The most of each kind; None is no limit.
_Amounts = tuple[int | None, int | None, int | None]
_NOTHING: Amounts = (0, 0, 0)
_BILLION = 10**9


def needs(job: Job, workers: int) -> Amounts:
    """What so many workers of a job ask for."""
    request = job.request
    return request.cpu_millis * workers, request.gpu_millis * workers, request.memory_mib * workers


def plus(a: Amounts, b: Amounts) -> Amounts:
    """The sum."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def minus(a: Amounts, b: Amounts) -> Amounts:
    """The difference."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def covers(a: Amounts, b: Amounts) -> bool:
    """Whether a is at least b, in all kinds."""
    return a[0] >= b[0] and a[1] >= b[1] and a[2] >= b[2]


class Ledger:
    """Who uses how much, as the plan goes on.

    Args:
        total: of the cluster; quotas that are not given are parts of it.
    """

    def __init__(self, queues: Iterable[Queue], total: Amounts) -> None:
        self.queues = {queue.id: queue for queue in queues}
        self.total = total
        weights = sum(queue.weight for queue in self.queues.values()) or 1
        self.quota: dict[str, Amounts] = {}
        for queue in self.queues.values():
            if queue.quota is not None:
                self.quota[queue.id] = queue.quota.amounts
            else:
                part = [amount * queue.weight // weights for amount in total]
                self.quota[queue.id] = (part[0], part[1], part[2])
        self.changes = 0
        self.regains: dict[str, int] = {}  # how often a queue came to use less of its quota
        self.used: dict[str, Amounts] = {}
        self.used_by_user: dict[tuple[str, str], Amounts] = {}
        self._promised: dict[str, Amounts] = {}
        # A limit is served in order: who waits for it is not overtaken by others who would use it up.
        self._waiting: dict[str | tuple[str, str], Reason] = {}
        self._limits = {
            q.id: (_unless_none(q.limit), _unless_none(q.user_limit)) for q in self.queues.values()
        }
        self._unlimited = {id for id, limits in self._limits.items() if limits == (None, None)}

    def add(self, job: Job, workers: int) -> None:
        """So many more workers of a job are at work, or fewer, if negative."""
        self.changes += 1
        amounts = needs(job, workers)
        user = (job.queue, job.user)
        self.used[job.queue] = plus(self.used.get(job.queue, _NOTHING), amounts)
        if workers < 0 and not self.borrows(job.queue):
            self.regains[job.queue] = self.regains.get(job.queue, 0) + 1
        self.used_by_user[user] = plus(self.used_by_user.get(user, _NOTHING), amounts)

    def promise(self, job: Job, workers: int) -> None:
        """So many workers have been promised room for later, or that is taken back, if negative."""
        self.changes += 1
        promised = self._promised.get(job.queue, _NOTHING)
        self._promised[job.queue] = plus(promised, needs(job, workers))

    def add_all(self, held: Iterable[Worker]) -> None:
        """All that is in use when the plan begins."""
        used: dict[tuple[str, str], list[int]] = {}
        for worker in held:
            job, count = worker.job, worker.count
            if worker.leaving:
                count += sum(worker.leaving.values())
            user, request = (job.queue, job.user), job.request
            if user not in used:
                used[user] = [0, 0, 0]
            sums = used[user]
            sums[0] += request.cpu_millis * count
            sums[1] += request.gpu_millis * count
            sums[2] += request.memory_mib * count
        for user, sums in used.items():
            amounts = (sums[0], sums[1], sums[2])
            self.used_by_user[user] = amounts
            self.used[user[0]] = plus(self.used.get(user[0], _NOTHING), amounts)

    def is_unlimited(self, queue: str) -> bool:
        """Whether a queue exists, and neither it nor its users have a limit."""
        return queue in self._unlimited

    def impossible(self, job: Job) -> Reason | None:
        """Why a job can never run, however empty the cluster is."""
        if job.queue in self._unlimited:
            return None
        queue = self.queues.get(job.queue)
        if queue is None:
            return Reason(code=Code.UNKNOWN_QUEUE, facts={"queue": job.queue})
        need = needs(job, job.min_workers)
        limits = (queue.limit.amounts, queue.user_limit.amounts)
        for limit, code in zip(limits, (Code.OVER_QUEUE_LIMIT, Code.OVER_USER_LIMIT), strict=True):
            kind = _exceeded(_NOTHING, need, limit)
            if kind is not None:
                facts: dict[str, Fact] = {"queue": job.queue, "kind": KINDS[kind], "needed": need[kind]}
                return Reason(code=code, facts={**facts, "limit": limit[kind] or 0})
        return None

    def allowed(self, job: Job) -> float:
        """The most workers that it may ever have."""
        queue, least = self.queues.get(job.queue), inf
        if queue is None:
            return 0
        for limit in (queue.limit, queue.user_limit):
            for most, amount in zip(limit.amounts, job.request.amounts, strict=True):
                if most is not None and amount > 0:
                    least = min(least, most // amount)
        return least

    def blocked(self, job: Job) -> Reason | None:
        """Why its queue or its user may not start it now; others that stand behind it wait as well."""
        if job.queue in self._unlimited:
            return None
        user, waiting = (job.queue, job.user), self._waiting
        if waiting and (found := waiting.get(job.queue) or waiting.get(user)) is not None:
            return found
        need = needs(job, job.min_workers)
        limit, user_limit = self._limits[job.queue]
        if limit is not None:
            used = self.used.get(job.queue, _NOTHING)
            if (kind := _exceeded(used, need, limit)) is not None:
                facts: dict[str, Fact] = {"queue": job.queue, "kind": KINDS[kind], "used": used[kind]}
                reason = Reason(code=Code.QUEUE_LIMIT, facts={**facts, "limit": limit[kind] or 0})
                waiting[job.queue] = reason
                return reason
        if user_limit is not None:
            used = self.used_by_user.get(user, _NOTHING)
            if (kind := _exceeded(used, need, user_limit)) is not None:
                facts = {"queue": job.queue, "user": job.user, "kind": KINDS[kind], "used": used[kind]}
                reason = Reason(code=Code.USER_LIMIT, facts={**facts, "limit": user_limit[kind] or 0})
                waiting[user] = reason
                return reason
        return None

    def growth_max(self, job: Job, workers: int) -> int:
        """How many of so many more workers the limits allow."""
        queue, user = self.queues.get(job.queue), (job.queue, job.user)
        if queue is None:
            return 0
        for limit, used in (
            (queue.limit, self.used.get(job.queue)),
            (queue.user_limit, self.used_by_user.get(user)),
        ):
            for most, amount, have in zip(limit.amounts, job.request.amounts, used or _NOTHING, strict=True):
                if most is not None and amount > 0:
                    workers = min(workers, max(0, (most - have) // amount))
        return workers

    def share(self, queue: str, *, promised: bool = False) -> int:
        """Its dominant share by weight, in billionths (DRF: Ghodsi et al., NSDI 2011).

        Args:
            promised: with what it was promised.
        """
        used = self.used.get(queue, _NOTHING)
        if promised and queue in self._promised:
            used = plus(used, self._promised[queue])
        known = self.queues.get(queue)
        weight = max(1, known.weight if known is not None else 1)
        return max(_BILLION * a // (t * weight) if t else 0 for a, t in zip(used, self.total, strict=True))

    def within_quota(self, job: Job) -> bool:
        """Whether its queue would stay within what it can always get back."""
        used = self.used.get(job.queue, _NOTHING)
        return covers(self.quota.get(job.queue, _NOTHING), plus(used, needs(job, job.min_workers)))

    def borrows(self, queue: str, used: Amounts | None = None) -> bool:
        """Whether a queue uses more than its quota; `used`: if it used that."""
        used = self.used.get(queue, _NOTHING) if used is None else used
        return not covers(self.quota.get(queue, _NOTHING), used)


def _unless_none(limit: Limit) -> _Amounts | None:
    """None if it limits nothing."""
    return limit.amounts if any(amount is not None for amount in limit.amounts) else None


def _exceeded(used: Amounts, need: Amounts, limit: _Amounts) -> int | None:
    """The first kind of which there would be more in use than is allowed."""
    for kind, most in enumerate(limit):
        if most is not None and need[kind] > 0 and used[kind] + need[kind] > most:
            return kind
    return None
