"""The tables. Times are seconds since the epoch; JSON is kept as it was written.

What changes here changes in a new file of migrations/versions as well; a test compares the two.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

#: What PostgreSQL has no way to store, and what is not Unicode: a traceback may hold any of it.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


class Words(TypeDecorator[str]):
    """Text, with a replacement character for what cannot be stored."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """What is stored for `value`."""
        return None if value is None else storable(value)


#: For what counts up and never down; only INTEGER does so by itself on SQLite, where it has 64 bits as well.
Number = BigInteger().with_variant(Integer, "sqlite")
#: SQL's NULL is None, never JSON's. Not JSONB: that would make numbers of another kind of some of ours.
Json = JSON(none_as_null=True)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

queues = Table(
    "queues",
    metadata,
    Column("id", Words, primary_key=True),
    Column("weight", Integer, nullable=False),
    Column("quota", Json),
    Column("limit", Json, nullable=False),
    Column("user_limit", Json, nullable=False),
)

#: `change` counts the changes of all jobs: a job has the number of its latest one.
jobs = Table(
    "jobs",
    metadata,
    Column("number", Number, Identity(always=True), primary_key=True),
    Column("id", Words, nullable=False, unique=True),
    Column("change", Number, nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    Column("name", Words, nullable=False),
    Column("queue", Words, nullable=False),
    Column("user", Words, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("submitted_min_workers", Integer, nullable=False),
    Column("submitted_max_workers", Integer, nullable=False),
    Column("spec", Json, nullable=False),
    Column("bundle", Words),
    Column("key", Words),
    Column("start", Words, nullable=False),
    Column("state", Words, nullable=False),
    Column("intent", Words, nullable=False),
    Column("min_workers", Integer, nullable=False),
    Column("max_workers", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("attained_service", Double, nullable=False),
    Column("submitted_at", Double, nullable=False),
    Column("last_change_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("reason", Words, nullable=False),
    Column("view", Json),
    Column("explain", Json),
    Column("outcome", Json),
    UniqueConstraint("user", "key"),
    CheckConstraint("(ended_at IS NULL) = (state NOT IN ('done', 'failed', 'cancelled'))", "over"),
    Index(
        "uq_jobs_live_name",
        "name",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index("ix_jobs_name_number", "name", "number"),
    Index("ix_jobs_state_number", "state", "number"),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("number", Number, Identity(always=True), primary_key=True),
    Column("job", Words, ForeignKey("jobs.id"), nullable=False),
    Column("time", Double, nullable=False),
    Column("kind", Words, nullable=False),
    Column("before", Words),
    Column("after", Words),
    Column("cause", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("who", Words, nullable=False),
    Column("data", Json, nullable=False),
    Index("ix_events_job_number", "job", "number"),
    sqlite_autoincrement=True,
)

allocations = Table(
    "allocations",
    metadata,
    Column("job", Words, ForeignKey("jobs.id"), primary_key=True),
    Column("node", Words, primary_key=True),
    Column("workers", Integer, nullable=False),
    Column("leaving", Integer, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Words, primary_key=True),
    Column("sha256", Words, nullable=False, unique=True),
    Column("user", Words, nullable=False),
    Column("role", Words, nullable=False),
    Column("queues", Json),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Number, Identity(always=True), primary_key=True),
    Column("time", Double, nullable=False),
    Column("who", Words, nullable=False),
    Column("action", Words, nullable=False),
    Column("target", Words, nullable=False),
    Column("address", Words, nullable=False),
    Column("allowed", Boolean, nullable=False),
    Column("detail", Words, nullable=False),
    sqlite_autoincrement=True,
)

memory = Table(
    "memory",
    metadata,
    Column("key", Words, primary_key=True),
    Column("value", Json, nullable=False),
)

bundles = Table(
    "bundles",
    metadata,
    Column("sha256", Words, primary_key=True),
    Column("bytes", Number, nullable=False),
    Column("stored_at", Double, nullable=False),
)


def storable(words: str) -> str:
    """`words` without what cannot be stored."""
    return _UNSTORABLE.sub(_REPLACEMENT, words)


def dump_json(value: Any) -> str:
    """JSON that both databases take.

    Raises:
        ValueError: a float is not finite (`orchestrator.records.facts.json_float` says it as a string).
    """
    dumped = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if "\\u0000" not in dumped and not _UNSTORABLE.search(dumped):
        return dumped
    return json.dumps(_storable(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _storable(value: Any) -> Any:
    match value:
        case str():
            return storable(value)
        case dict():
            return {storable(str(key)): _storable(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_storable(inner) for inner in value]
    return value
