"""What the sections of a job file are made of: kinds of fields, and errors with a fix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

SLUG_CHARS_MAX = 63  # what file names, actor names and Kubernetes labels all allow
_SLUG = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")
_RECIPE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_DIGEST = re.compile(r"[0-9a-f]{6,64}")
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]+)")
_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def broken(what: str, *, fix: str, field: str = "") -> PydanticCustomError:
    """An error for pydantic to collect; `field` is where inside the section it belongs."""
    template = what.replace("{", "{{").replace("}", "}}")
    return PydanticCustomError("rule", template, {"fix": fix, "field": field})


def _slug(text: str) -> str:
    if _SLUG.fullmatch(text) and len(text) <= SLUG_CHARS_MAX:
        return text
    near = re.sub(r"[^a-z0-9]+", "-", text.lower())[:SLUG_CHARS_MAX].strip("-") or "my-job"
    what = f"{text!r} cannot name files and actors everywhere"
    raise broken(what, fix=f"use lower-case letters, digits and dashes, at most {SLUG_CHARS_MAX}: {near}")


def _recipe(text: str) -> str:
    if _RECIPE.fullmatch(text):
        return text
    fix = "write module:Class, as in recipe:CharModel for the class CharModel of recipe.py"
    raise broken(f"{text!r} does not name a class in a module", fix=fix)


def _uri(text: str, info: ValidationInfo) -> str:
    """Absolute URIs stay; paths become `file://` URIs, relative ones from the job file's folder."""
    parts = urlsplit(text)
    if parts.scheme in ("s3", "gs", "az") and parts.netloc:
        return text.rstrip("/")
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/") and len(parts.path) > 1:
        return text.rstrip("/")
    fix = "write s3://bucket/prefix (or gs://, az://), file:///absolute/folder, or a path"
    if not text or "://" in text:
        raise broken(f"{text!r} is not an address of a folder", fix=fix)
    path = Path(text).expanduser()
    base: Path | None = (info.context or {}).get("base")
    if not path.is_absolute():
        if base is None:
            raise broken(f"{text!r} is relative to nothing", fix=fix)
        path = base / path
    return path.resolve().as_uri()


def seconds(text: str) -> float:
    """A time such as `90s`, `5m`, `1.5h` or `1d`, in seconds.

    Raises:
        PydanticCustomError: it is none, or none at all.
    """
    match = _TIME.fullmatch(text)
    if match is None or match[2] not in _SECONDS or not float(match[1]):
        raise broken(f"{text!r} is not a time", fix="write a number and s, m, h or d: 90s, 5m, 1.5h")
    return float(match[1]) * _SECONDS[match[2]]


def _time(text: str) -> str:
    seconds(text)
    return text


def _steps_or_time(value: int | str) -> int | str:
    if isinstance(value, str):
        return _time(value)
    if value < 1:
        raise broken(f"should be at least 1, not {value}", fix="give a number of steps, or a time such as 5m")
    return value


def _steps(value: Any) -> Any:
    if isinstance(value, str) and _TIME.fullmatch(value):
        what = f"{value!r} is a time; only steps are supported"
        raise broken(what, fix="give a number of steps, such as 50")
    return value


def _digest(text: str) -> str:
    if _DIGEST.fullmatch(text):
        return text
    fix = "write at least 6 of its digits, in quotes, as `lockstep data show` prints them"
    raise broken(f"{text!r} is not how a digest begins", fix=fix)


def _pattern(text: str) -> str:
    if text:
        return text
    raise broken("an empty pattern matches nothing", fix='write a name, or a pattern such as "encoder.*"')


Pattern = Annotated[str, AfterValidator(_pattern)]
Digest = Annotated[str, AfterValidator(_digest)]
Slug = Annotated[str, AfterValidator(_slug)]
Uri = Annotated[str, AfterValidator(_uri)]
Count = Annotated[int, Field(ge=1)]
Steps = Annotated[Count, BeforeValidator(_steps)]
Time = Annotated[str, AfterValidator(_time)]
StepsOrTime = Annotated[int | str, AfterValidator(_steps_or_time)]
RecipeName = Annotated[str, AfterValidator(_recipe)]


class Section(BaseModel):
    """Base of all sections: frozen, nothing unknown, no guessing of types (`"8"` is not a number)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
