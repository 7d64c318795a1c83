"""What is left behind by a cluster that is gone keeps nobody waiting."""

from __future__ import annotations

import socket

import pytest

from clusters.ray_cluster import ClusterNotFound, connect


@pytest.mark.parametrize("address", ["auto", None])
def test_an_address_at_which_nobody_answers_is_told_at_once(address, monkeypatch):
    """Ray itself tries for more than a minute."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # it is not listened at
        gone = f"127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", gone)
        with pytest.raises(ClusterNotFound):
            connect(address or gone)
