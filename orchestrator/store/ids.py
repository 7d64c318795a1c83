"""Names for jobs and tokens that nothing else has had."""

from __future__ import annotations

import secrets

LENGTH = 10
#: Digits and letters that are not taken for one another (Crockford's base 32).
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id() -> str:
    """Ten random characters: 50 bits. Whoever stores it has the database refuse one that is there."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
