"""Tokens let in who has the secret, as long as they are good; the database does not have it."""

from __future__ import annotations

import hashlib

import pytest

from orchestrator.store.records import Role
from workers.errors import InputError


def test_a_secret_leads_to_its_token(database):
    with database.transaction() as tx:
        token, secret = tx.tokens.create(
            user="ann", role=Role.SUBMITTER, now=1.0, queues=["a", "b"], expires_at=9.0
        )
        other, other_secret = tx.tokens.create(user="root", role=Role.ADMIN, now=2.0)
    assert secret.startswith("lockstep_")
    assert len(secret) > 43
    assert secret != other_secret
    assert (token.user, token.role, token.queues) == ("ann", Role.SUBMITTER, ("a", "b"))
    with database.reading() as tx:
        assert tx.tokens.find(secret, 8.0) == (token, "")
        assert tx.tokens.find(other_secret, 8.0) == (other, "")
        assert tx.tokens.all() == (other, token)
    assert other.queues is None


def test_a_token_is_good_for_nothing_when_unknown_or_expired_or_revoked(database):
    with database.transaction() as tx:
        token, secret = tx.tokens.create(user="ann", role=Role.VIEWER, now=1.0, expires_at=9.0)
        assert tx.tokens.find(secret + "x", 2.0) == (None, "the token is unknown")
        assert tx.tokens.find(token.id, 2.0) == (None, "the token is unknown")
        assert tx.tokens.find(secret, 9.0) == (None, f"token {token.id} of ann has expired")
        revoked = tx.tokens.revoke(token.id, now=3.0)
        assert tx.tokens.revoke(token.id, now=4.0) == revoked
        assert revoked.revoked_at == 3.0
        assert tx.tokens.find(secret, 3.5) == (None, f"token {token.id} of ann is revoked")
    with pytest.raises(InputError, match="there is no token 'x'"), database.transaction() as tx:
        tx.tokens.revoke("x", now=1.0)


def test_the_secret_itself_is_nowhere_on_disk(tmp_path):
    from orchestrator.store.database import Database

    with Database(f"sqlite:///{tmp_path}/lockstep.db") as database, database.transaction() as tx:
        _, secret = tx.tokens.create(user="ann", role=Role.VIEWER, now=1.0)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert hashlib.sha256(secret.encode()).hexdigest().encode() in stored
    assert secret.encode() not in stored
    assert secret.removeprefix("lockstep_").encode() not in stored
