"""Decides: what a job is, where it runs, what happens when something breaks. Never imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> object:
    """The client, when it is asked for: importing the package stays cheap."""
    if name == "Client":
        from orchestrator.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
