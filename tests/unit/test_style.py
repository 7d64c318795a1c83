"""The house rules that a reader should be able to rely on, checked on the source text."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("orchestrator", "workers", "clusters")
FILES = sorted(
    path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")
)
EVERYTHING = [
    *FILES,
    *sorted(
        path.relative_to(ROOT).as_posix()
        for folder in ("examples", "benchmarks", "tests")
        for path in (ROOT / folder).rglob("*.py")
    ),
]

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400

#: package → what it never imports, not even inside a function.
FORBIDDEN = {
    "orchestrator": {"torch"},
    "workers": {"orchestrator", "clusters"},
    "clusters": {"orchestrator", "workers", "torch"},
}
#: Nobody else touches Ray.
RAY_FILES = {
    "orchestrator/control.py",
    "orchestrator/following.py",
    "orchestrator/job_actor.py",
    "orchestrator/script_actor.py",
    "orchestrator/service/listening.py",
    "orchestrator/service/ray_executor.py",
    "orchestrator/service/watching.py",
    "orchestrator/crew/ray_crew.py",
    "orchestrator/crew/script_crew.py",
    "orchestrator/crew/places.py",
    "orchestrator/crew/standbys.py",
    "orchestrator/crew/actors.py",
    "orchestrator/crew/buddies.py",
    "clusters/connection.py",
    "clusters/local.py",
    "clusters/own.py",
    "clusters/ray_cluster.py",
    "workers/actor.py",
    "workers/script/actor.py",
}
#: Pure functions of plain data: time comes in with events, seeds are arguments, effects are somebody else's.
PURE = [
    "orchestrator/gang/",
    "orchestrator/scheduler/",
    "orchestrator/scripts/adoption.py",
    "orchestrator/scripts/causes.py",
    "orchestrator/scripts/commands.py",
    "orchestrator/scripts/ending.py",
    "orchestrator/scripts/job.py",
    "orchestrator/scripts/ledger.py",
    "orchestrator/scripts/machine.py",
    "orchestrator/scripts/states.py",
    "orchestrator/scripts/torchrun.py",
    "orchestrator/records/ledger.py",
    "orchestrator/records/pace.py",
    "orchestrator/records/status.py",
    "orchestrator/api/binding.py",
    "orchestrator/cli/amounts.py",
    "orchestrator/client/sse.py",
    "orchestrator/spec/explain.py",
    "orchestrator/service/observe.py",
    "orchestrator/service/settle.py",
    "orchestrator/service/telling.py",
    "orchestrator/store/records.py",
    "orchestrator/store/states.py",
    "orchestrator/store/wishes.py",
    "orchestrator/spec/problems.py",
    "orchestrator/spec/yaml_lines.py",
    "workers/protocol/",
    "workers/script/protocol.py",
    "workers/script/traces.py",
    "workers/numerics/tree.py",
    "workers/data/lanes.py",
    "workers/data/mixture.py",
    "workers/data/order.py",
    "workers/data/pattern.py",
    "workers/data/permutation.py",
    "workers/data/schedule.py",
    "workers/data/stream.py",
    "workers/checkpoint/layout.py",
    "workers/checkpoint/matching.py",
    "workers/checkpoint/measure.py",
    "workers/checkpoint/policy.py",
    "workers/patterns.py",
]
IMPURE_MODULES = {
    *("time", "datetime", "random", "secrets", "uuid"),
    *("os", "io", "shutil", "tempfile", "socket", "subprocess", "threading", "asyncio", "multiprocessing"),
    *("ray", "obstore", "boto3"),
}
IMPURE_CALLS = {"open", "print", "input", "hash", "id"}  # hash and id differ from process to process
#: What `lockstep --help` can do without.
HEAVY = {
    *("torch", "ray", "pyarrow", "pydantic", "numpy", "boto3", "obstore"),
    *("sqlalchemy", "alembic", "psycopg", "fastapi", "starlette", "uvicorn", "httpx"),
}


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"), file)


def imports(file: str) -> set[str]:
    """Names of the modules that a file imports anywhere in it, dotted."""
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: write imports in full"
            found.add(node.module or "")
    return found


def packages(file: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(file)}


def functions(file: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (
        node for node in ast.walk(tree(file)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )


def public_without_docstring(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[str]:
    for child in node.body:
        if (
            not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            or child.name[0] == "_"
        ):
            continue
        if ast.get_docstring(child) is None:
            yield prefix + child.name
        if isinstance(child, ast.ClassDef):
            yield from public_without_docstring(child, f"{prefix}{child.name}.")


def test_imports_point_only_downward():
    wrong = {file: packages(file) & FORBIDDEN[file.partition("/")[0]] for file in FILES}
    assert {file: names for file, names in wrong.items() if names} == {}


def test_only_the_edge_touches_ray():
    assert {file for file in FILES if "ray" in packages(file)} - RAY_FILES == set()


def test_nothing_is_pickled():
    """But for what a process and its own child say to each other: never stored, nor from anybody else."""
    pickling = {"pickle", "cloudpickle", "dill", "joblib"}
    assert [file for file in FILES if packages(file) & pickling] == ["workers/data/decoding/wire.py"]


def test_checks_survive_python_without_assertions():
    assert [
        f"{file}:{node.lineno}"
        for file in FILES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Assert)
    ] == []


@pytest.mark.parametrize("pure", PURE)
def test_pure_code_has_no_clock_no_random_source_and_no_effects(pure):
    files = [file for file in FILES if file == pure or (pure.endswith("/") and file.startswith(pure))]
    assert files, f"{pure} is gone; take it off the list"
    for file in files:
        assert packages(file) & IMPURE_MODULES == set(), file
        nodes = list(ast.walk(tree(file)))
        assert [
            node.lineno for node in nodes if isinstance(node, ast.Attribute) and node.attr == "random"
        ] == []
        calls = {
            node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert calls & IMPURE_CALLS == set(), file


def test_functions_fit_on_a_screen():
    sizes = {
        f"{file}: {f.name}": (f.end_lineno or 0) - f.lineno + 1
        for file in EVERYTHING
        for f in functions(file)
    }
    assert {name: size for name, size in sizes.items() if size > FUNCTION_LINES_MAX} == {}


def test_files_are_about_one_thing():
    sizes = {file: len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in EVERYTHING}
    assert {file: size for file, size in sizes.items() if size > FILE_LINES_MAX} == {}


def test_what_is_public_is_documented():
    assert [file for file in FILES if ast.get_docstring(tree(file)) is None] == []
    assert [f"{file}: {name}" for file in FILES for name in public_without_docstring(tree(file))] == []


def test_help_needs_none_of_the_heavy_libraries():
    code = (
        "import sys; sys.argv = ['lockstep', '--help']\n"
        "from orchestrator.cli.main import entry\n"
        "try: entry()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print('heavy:', sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stdout.rstrip().endswith("heavy: []")
