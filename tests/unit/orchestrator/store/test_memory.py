"""JSON under names, and which bundles are stored."""

from __future__ import annotations

import pytest


def test_what_was_saved_last_is_loaded(database):
    with database.transaction() as tx:
        assert tx.memory.load("plan") is None
        assert tx.memory.load("plan", {"number": 0}) == {"number": 0}
        tx.memory.save("plan", {"number": 1, "reservations": []})
        tx.memory.save("other", [1, "two"])
        tx.memory.save("plan", {"number": 2})
    with database.reading() as tx:
        assert tx.memory.load("plan") == {"number": 2}
        assert tx.memory.load("other") == [1, "two"]


def test_numbers_come_back_as_they_were(database):
    values = [0.1, 1e-300, 1.7976931348623157e308, 1e22, -0.5, 2**53 + 1, 2**70, 1764166487.123456]
    with database.transaction() as tx:
        tx.memory.save("numbers", values)
    with database.reading() as tx:
        assert tx.memory.load("numbers") == values


def test_what_json_has_no_number_for_is_refused(database):
    with pytest.raises(Exception, match="not JSON compliant"), database.transaction() as tx:
        tx.memory.save("loss", float("nan"))
    with database.reading() as tx:
        assert tx.memory.load("loss") is None


def test_a_bundle_is_known_once_it_is_stored(database):
    sha256 = "ab" * 32
    with database.transaction() as tx:
        assert tx.bundles.stored(sha256) is None
        tx.bundles.add(sha256, 5 * 2**30, now=1.0)
        tx.bundles.add(sha256, 5 * 2**30, now=2.0)
    with database.reading() as tx:
        assert tx.bundles.stored(sha256) == 5 * 2**30
