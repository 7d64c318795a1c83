"""A job's folder as one file: packed alike everywhere, named by its SHA-256, unpacked with distrust."""

from orchestrator.bundles.kept import bundle_name, fetch, is_stored, keep
from orchestrator.bundles.pack import Bundle, pack
from workers.bundles.limits import LIMITS, Limits
from workers.bundles.unpack import unpack, verify

__all__ = [
    "LIMITS",
    "Bundle",
    "Limits",
    "bundle_name",
    "fetch",
    "is_stored",
    "keep",
    "pack",
    "unpack",
    "verify",
]
