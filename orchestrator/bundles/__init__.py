"""A job's folder as one file: packed alike everywhere, named by its SHA-256, unpacked with distrust."""

from orchestrator.bundles.kept import bundle_name, fetch, is_stored, keep
from orchestrator.bundles.limits import LIMITS, Limits
from orchestrator.bundles.pack import Bundle, pack
from orchestrator.bundles.unpack import unpack, verify

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
