"""Pages that are written by the code say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.cli import document as commands
from orchestrator.spec.document import page

ROOT = Path(__file__).parents[2]


def test_the_page_about_the_job_file_is_up_to_date():
    assert (ROOT / "docs/job-file.md").read_text() == page(), (
        "python -m orchestrator.spec.document > docs/job-file.md"
    )


def test_the_page_about_the_commands_is_up_to_date():
    assert (ROOT / "docs/commands.md").read_text() == commands.page(), (
        "python -m orchestrator.cli.document > docs/commands.md"
    )


def test_every_link_between_pages_leads_somewhere():
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
    ]
    for page_ in pages:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page_.read_text()):
            assert (page_.parent / target).exists(), f"{page_.name} links to {target}"
