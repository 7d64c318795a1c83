"""The audit log is read from its end."""

from __future__ import annotations

from orchestrator.store.records import AuditRecord


def test_entries_are_paged_newest_first(database):
    with database.transaction() as tx:
        numbers = [
            tx.audit.add(
                now=float(i),
                who="ann",
                action="cancel",
                target=f"job {i}",
                address="127.0.0.1",
                allowed=i % 2 == 0,
                detail="" if i % 2 == 0 else "wrong role",
            )
            for i in range(5)
        ]
    with database.reading() as tx:
        newest, second = tx.audit.page(limit=2)
        rest = tx.audit.page(before=second.number)
    assert [entry.number for entry in (newest, second, *rest)] == numbers[::-1]
    assert second == AuditRecord(
        number=numbers[3], time=3.0, who="ann", action="cancel", target="job 3", address="127.0.0.1",
        allowed=False, detail="wrong role",
    )  # fmt: skip
