"""Names for jobs and tokens that nothing else has had."""

from __future__ import annotations

import secrets

LENGTH = 10
#: Digits and letters that are not taken for one another (Crockford's base 32).
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id() -> str:
    """Ten random characters: 50 bits. Whoever stores it has the database refuse one that is there."""
    bits = secrets.randbits(5 * LENGTH)  # at once: the system is slow to ask
    return "".join(ALPHABET[bits >> 5 * place & 31] for place in range(LENGTH))
