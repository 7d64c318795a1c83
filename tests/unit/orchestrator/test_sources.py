from __future__ import annotations

import pytest

from orchestrator.sources import BYTES_MAX, FILES_MAX, collect_sources
from workers.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """A folder with a job file, a recipe, and much that is not the recipe's."""
    files = {
        "job.yaml": "",
        "recipe.py": "import helper",
        "helper.py": "x = 1",
        "notes.txt": "",
        "models/__init__.py": "",
        "models/deep/net.py": "y = 2",
        "models/weights.bin": "",
        "models/__pycache__/net.py": "",
        "data/script.py": "not in a package",
        ".hidden/__init__.py": "",
        "env/pyvenv.cfg": "",
        "env/__init__.py": "",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def test_modules_and_packages_beside_the_job_file_are_collected(folder):
    sources = collect_sources(folder / "job.yaml", "recipe:Net")
    assert list(sources) == ["helper.py", "models/__init__.py", "models/deep/net.py", "recipe.py"]
    assert sources["models/deep/net.py"] == b"y = 2"


def test_a_recipe_in_a_package_beside_the_job_file_counts_too(folder):
    assert "models/deep/net.py" in collect_sources(folder / "job.yaml", "models.deep.net:Net")


@pytest.mark.parametrize("recipe", ["elsewhere:Net", "data.script:Net", "os.path:Net"])
def test_a_recipe_from_the_path_brings_no_sources(folder, recipe):
    assert collect_sources(folder / "job.yaml", recipe) == {}


def test_a_link_to_a_folder_is_not_followed(folder):
    (folder / "models/loop").symlink_to(folder / "models")
    assert len(collect_sources(folder / "job.yaml", "recipe:Net")) == 4


def test_too_many_files_are_refused(folder):
    for number in range(FILES_MAX):
        (folder / f"m{number}.py").touch()
    with pytest.raises(InputError, match="into a folder of their own"):
        collect_sources(folder / "job.yaml", "recipe:Net")


def test_too_many_bytes_are_refused(folder):
    (folder / "big.py").write_bytes(b"#" * (BYTES_MAX + 1))
    with pytest.raises(InputError, match="into a folder of their own"):
        collect_sources(folder / "job.yaml", "recipe:Net")
