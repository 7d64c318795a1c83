"""Jobs, events, allocations, queues, tokens, the audit log, memory and bundles."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_JSON = sa.JSON()
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NOT_OVER = sa.text("ended_at IS NULL")


def upgrade() -> None:
    """Make the tables, and the default queue."""
    _jobs()
    _of_jobs()
    _of_people()
    queues = op.create_table(
        "queues",
        _text("id"),
        sa.Column("weight", sa.Integer, nullable=False),
        sa.Column("quota", _JSON),
        sa.Column("limit", _JSON, nullable=False),
        sa.Column("user_limit", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_queues"),
    )
    op.bulk_insert(queues, [{"id": "default", "weight": 1, "limit": {}, "user_limit": {}}])
    op.create_table(
        "memory",
        _text("key"),
        sa.Column("value", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_memory"),
    )
    op.create_table(
        "bundles",
        _text("sha256"),
        sa.Column("bytes", _NUMBER, nullable=False),
        _time("stored_at"),
        sa.PrimaryKeyConstraint("sha256", name="pk_bundles"),
    )


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _time(name: str, nullable: bool = False) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=nullable)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def _number() -> sa.Column[int]:
    return sa.Column("number", _NUMBER, sa.Identity(always=True), nullable=False)


def _jobs() -> None:
    op.create_table(
        "jobs",
        _number(),
        _text("id"),
        sa.Column("change", _NUMBER, nullable=False),
        _count("version"),
        *(_text(name) for name in ("name", "queue", "user")),
        *(_count(name) for name in ("priority", "submitted_min_workers", "submitted_max_workers")),
        sa.Column("spec", _JSON, nullable=False),
        _text("bundle", nullable=True),
        _text("key", nullable=True),
        *(_text(name) for name in ("start", "state", "intent")),
        *(_count(name) for name in ("min_workers", "max_workers", "attempt")),
        *(_time(name) for name in ("attained_service", "submitted_at", "last_change_at")),
        _time("started_at", nullable=True),
        _time("ended_at", nullable=True),
        _text("reason"),
        *(sa.Column(name, _JSON) for name in ("view", "explain", "outcome")),
        sa.PrimaryKeyConstraint("number", name="pk_jobs"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sa.UniqueConstraint("change", name="uq_jobs_change"),
        sa.UniqueConstraint("user", "key", name="uq_jobs_user_key"),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (state NOT IN ('done', 'failed', 'cancelled'))", name=op.f("ck_jobs_over")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_jobs_live_name",
        "jobs",
        ["name"],
        unique=True,
        sqlite_where=_NOT_OVER,
        postgresql_where=_NOT_OVER,
    )
    op.create_index("ix_jobs_name_number", "jobs", ["name", "number"])
    op.create_index("ix_jobs_state_number", "jobs", ["state", "number"])


def _of_jobs() -> None:
    op.create_table(
        "events",
        _number(),
        _text("job"),
        _time("time"),
        _text("kind"),
        _text("before", nullable=True),
        _text("after", nullable=True),
        *(_text(name) for name in ("cause", "reason", "who")),
        sa.Column("data", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_events"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_events_job"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_job_number", "events", ["job", "number"])
    op.create_table(
        "allocations",
        _text("job"),
        _text("node"),
        _count("workers"),
        _count("leaving"),
        sa.PrimaryKeyConstraint("job", "node", name="pk_allocations"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_allocations_job"),
    )


def _of_people() -> None:
    op.create_table(
        "tokens",
        *(_text(name) for name in ("id", "sha256", "user", "role")),
        sa.Column("queues", _JSON),
        _time("created_at"),
        _time("expires_at", nullable=True),
        _time("revoked_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("sha256", name="uq_tokens_sha256"),
    )
    op.create_table(
        "audit",
        _number(),
        _time("time"),
        *(_text(name) for name in ("who", "action", "target", "address")),
        sa.Column("allowed", sa.Boolean, nullable=False),
        _text("detail"),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
        sqlite_autoincrement=True,
    )
