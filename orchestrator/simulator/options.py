"""`--set costs.restart=60` and the like: what a simulation takes for granted, changed by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from orchestrator.scheduler import Config
from orchestrator.simulator.setting import Costs, Faults
from workers.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Nodes:
    """What else there is to say of nodes.

    Attributes:
        zones: they are spread over so many.
        spot: so many of them are spot nodes.
        added: the scheduler may add as many, and removes them when they are idle.
        boot_seconds: until an added node is up.
        price, spot_price: of a node and an hour.
    """

    zones: int = 1
    spot: int = 0
    added: int = 0
    boot_seconds: float = 120.0
    price: float = 0.0
    spot_price: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """All groups of names."""

    nodes: Nodes = field(default_factory=Nodes)
    costs: Costs = field(default_factory=Costs)
    faults: Faults = field(default_factory=Faults)
    policy: Config = field(default_factory=Config)


def parse(settings: Iterable[str], options: Options | None = None) -> Options:
    """`group.name=value` each, the last one of a name counts.

    Raises:
        InputError: there is no such name (and which is nearest), or it cannot have this value.
    """
    options = options or Options()
    for text in settings:
        where = f"--set {text}"
        name, equals, value = text.partition("=")
        group, _, entry = name.strip().partition(".")
        known = {f"{g.name}.{f.name}" for g in fields(options) for f in fields(getattr(options, g.name))}
        known.discard("policy.policy")  # that is --policy
        if not equals or name.strip() not in known:
            near = difflib.get_close_matches(name.strip(), sorted(known), n=1, cutoff=0.0)
            raise InputError(f"there is no setting {name.strip()}", where=where, fix=f"such as {near[0]}=...")
        now = getattr(options, group)
        changed = replace(now, **{entry: _value(getattr(now, entry), value.strip(), where)})
        options = replace(options, **{group: changed})
    return options


def _value(default: object, text: str, where: str) -> Any:
    try:
        if isinstance(default, StrEnum):
            return type(default)(text)
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, tuple):
            return tuple(_at_least_zero(float, part) for part in text.split(",") if part)
        return _at_least_zero(int if isinstance(default, int) else float, text)
    except (KeyError, ValueError):
        kind = {bool: "true or false", tuple: "numbers with commas between", int: "a whole number"}
        words = kind.get(type(default), "a number")
        if isinstance(default, StrEnum):
            words = " or ".join(type(default))
        fix = f"write {words}" + ("" if isinstance(default, bool | StrEnum) else " from 0")
        raise InputError(f"{text!r} is no value for it", where=where, fix=fix) from None


def _at_least_zero(kind: type[int] | type[float], text: str) -> float:
    value = kind(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value
