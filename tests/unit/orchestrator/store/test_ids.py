"""Ids are short, and nothing else has had them."""

from __future__ import annotations

from orchestrator.store.ids import ALPHABET, LENGTH, new_id


def test_ids_are_ten_characters_that_are_not_taken_for_one_another():
    ids = {new_id() for _ in range(10_000)}
    assert len(ids) == 10_000
    assert {len(id) for id in ids} == {LENGTH}
    assert set("".join(ids)) == set(ALPHABET)
    assert not set("ilou") & set(ALPHABET)
