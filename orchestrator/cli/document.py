"""Writes docs/commands.md from the commands, so that the page cannot say anything else than their help.

python -m orchestrator.cli.document > docs/commands.md
"""

from __future__ import annotations

import typer
from typer.cli import get_docs_for_click
from typer.core import MARKUP_MODE_KEY
from typer.main import get_command

from orchestrator.cli.main import app

#: Every command has it.
_HELP = "* `--help`: Show this message and exit.\n"


def page() -> str:
    """The page, in Markdown."""
    command = get_command(app)
    context = typer.Context(command, obj={MARKUP_MODE_KEY: app.rich_markup_mode})
    written = get_docs_for_click(obj=command, ctx=context, name="lockstep", title="The commands")
    written = written.replace(f"**Options**:\n\n{_HELP}\n", "").replace(_HELP, "")
    return written.strip().replace("&#x27;", "'") + "\n"  # apostrophes are no danger in Markdown


if __name__ == "__main__":
    print(page(), end="")
