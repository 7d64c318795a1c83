"""What is wrong with a job file: where it is, what it is, and what would be right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workers.errors import InputError

#: A field's place in the job file: ("batch", "size"), or with positions for list items.
Loc = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with a job.

    Attributes:
        where: `job.yaml:4`, or `--set batch.siez=3` when it came from the command line.
        field: the dotted name of the field; empty for the file as a whole.
        what: what was wrong, without a trailing period.
        fix: what would be right.
    """

    where: str
    field: str
    what: str
    fix: str | None = None

    def __str__(self) -> str:
        what = f"{self.field}: {self.what}" if self.field else self.what
        return str(InputError(what, where=self.where, fix=self.fix))


class SpecError(InputError):
    """Everything that is wrong with a job file, in one error.

    Args:
        problems: at least one, in the order in which they should be read.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[object, ...]:
        return SpecError, (self.problems,)


def dotted(loc: Loc) -> str:
    """`("batch", "size")` → `batch.size`."""
    return ".".join(str(part) for part in loc)
