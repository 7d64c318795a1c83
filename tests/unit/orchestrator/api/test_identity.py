"""Tokens are remembered for a moment, and never longer than they are good."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.errors import Refused
from orchestrator.api.identity import Identities
from orchestrator.store.records import Role


@pytest.fixture
def make(service):
    def token(expires_at=None):
        with service.database.transaction() as tx:
            return tx.tokens.create(user="u", role=Role.VIEWER, now=0.0, expires_at=expires_at)

    return token


def test_a_good_token_is_remembered_for_a_moment(service, make):
    _, secret = make()
    identities = Identities(service.database, 1.0)
    assert identities.remembered(secret, 5.0) is None
    found = identities.find(secret, 5.0)
    assert identities.remembered(secret, 5.9) == found
    assert identities.remembered(secret, 6.0) is None


def test_it_is_not_good_for_longer_than_it_says(service, make):
    _, secret = make(expires_at=5.5)
    identities = Identities(service.database, 1.0)
    identities.find(secret, 5.0)
    assert identities.remembered(secret, 5.4) is not None
    assert identities.remembered(secret, 5.5) is None
    with pytest.raises(Refused, match="not known"):
        identities.find(secret, 5.5)


def test_what_is_forgotten_is_asked_for_again(service, make):
    token, secret = make()
    identities = Identities(service.database, 1.0)
    identities.find(secret, 5.0)
    with service.database.transaction() as tx:
        tx.tokens.revoke(token.id, now=5.0)
    assert identities.remembered(secret, 5.1) is not None, "by the database alone: for another moment"
    identities.forget()
    assert identities.remembered(secret, 5.1) is None


def test_bad_tokens_are_not_remembered_as_anything(service):
    identities = Identities(service.database, 1.0)
    with pytest.raises(Refused):
        identities.find("nobody", 5.0)
    assert identities.remembered("nobody", 5.0) is None


def test_those_who_ask_at_the_same_time_share_an_answer_but_not_after_a_revocation(service, make):
    token, secret = make()
    identities = Identities(service.database, 1.0)
    looks: list[str] = []
    find = identities.find

    def counted(secret, now):
        looks.append(secret)
        return find(secret, now)

    identities.find = counted

    async def ask() -> None:
        found = await asyncio.gather(*[identities.ask(secret, 5.0) for _ in range(10)])
        assert {caller.token for caller in found} == {token.id}
        assert looks == [secret]
        before = asyncio.ensure_future(identities.ask(secret, 5.0))
        await asyncio.sleep(0)
        with service.database.transaction() as tx:
            tx.tokens.revoke(token.id, now=5.0)
        identities.forget()
        with pytest.raises(Refused, match="not known"):
            await identities.ask(secret, 5.0)
        await asyncio.wait([before])
        before.exception()  # it may have looked before or after

    asyncio.run(ask())


def test_nothing_is_remembered_where_that_is_asked_for(service, make):
    _, secret = make()
    identities = Identities(service.database, 0.0)
    identities.find(secret, 5.0)
    assert identities.remembered(secret, 5.0) is None


@given(
    expires=st.none() | st.floats(1, 100),
    looked=st.floats(1, 100),
    asked=st.floats(0, 100),
    kept=st.floats(0, 50),
)
def test_whatever_the_times_are_nobody_comes_in_after_the_end(expires, looked, asked, kept):
    from orchestrator.api.identity import _Known
    from orchestrator.store.records import TokenRecord

    token = TokenRecord(id="t", user="u", role=Role.VIEWER, queues=None, created_at=0.0, expires_at=expires)
    good = _Known(token=token, until=looked + kept).is_good(asked)
    assert not good or ((expires is None or asked < expires) and asked < looked + kept)
