"""The statements about jobs, made once: to make one takes longer than to run it.

Parameters of a condition begin with `the_`; all others are columns, and which of them an insert or update
writes is decided by what it is run with.
"""

from __future__ import annotations

from sqlalchemy import ScalarSelect, bindparam, func, insert, select, update

from orchestrator.store import tables

_JOBS = tables.jobs.c


def _next_change() -> ScalarSelect[int]:
    """The number of the change that a statement makes; there is one writer at a time."""
    others = tables.jobs.alias()
    return select(func.coalesce(func.max(others.c.change), 0) + 1).scalar_subquery()


_all = select(tables.jobs)
_of_name = _all.where(_JOBS.name == bindparam("the_name"))
_newer = update(tables.jobs).values(version=_JOBS.version + 1)

BY_ID = _all.where(_JOBS.id == bindparam("the_id"))
BY_KEY = _all.where(_JOBS.user == bindparam("the_user"), _JOBS.key == bindparam("the_key"))
LIVE_OF_NAME = _of_name.where(_JOBS.ended_at.is_(None))
NEWEST_OF_NAME = _of_name.order_by(_JOBS.number.desc()).limit(1)
LIVE = _all.where(_JOBS.ended_at.is_(None)).order_by(_JOBS.number)
CHANGED_SINCE = _all.where(_JOBS.change > bindparam("the_change")).order_by(_JOBS.change)
NEWEST_CHANGE = select(func.max(_JOBS.change))
NEWEST_NAMES = select(_JOBS.name).order_by(_JOBS.number.desc()).limit(bindparam("the_limit"))
COUNT_BY_STATE = select(_JOBS.state, func.count()).group_by(_JOBS.state)
COUNT_BY_QUEUE = select(_JOBS.queue, _JOBS.state, func.count()).group_by(_JOBS.queue, _JOBS.state)

#: Returns the number of the new job.
INSERT = insert(tables.jobs).values(change=_next_change()).returning(_JOBS.number)
#: Only as long as the version is the one that is expected.
UPDATE = _newer.values(change=_next_change()).where(
    _JOBS.id == bindparam("the_id"), _JOBS.version == bindparam("the_version")
)
#: Whatever the version; the number of the change is given.
EXPLAIN = _newer.where(_JOBS.id == bindparam("the_id"))
