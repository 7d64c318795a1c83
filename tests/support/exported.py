"""The state digest of an exported checkpoint, computed as a stranger would: from the documentation alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def digest_of_export(path: Path) -> str:
    """SHA-256 over key, dtype, shape and bytes of each tensor of a safetensors file, in the order of keys."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    digest = hashlib.sha256()
    for key in sorted(header):
        shape = json.dumps(header[key]["shape"], separators=(",", ":"))
        digest.update(b"\0".join([key.encode(), header[key]["dtype"].encode(), shape.encode(), b""]))
        begin, end = header[key]["data_offsets"]
        digest.update(content[start + begin : start + end])
    return digest.hexdigest()
