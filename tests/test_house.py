"""Rules of the house that no single module can keep."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [path for path in sorted((ROOT / "lit_knn").rglob("*.py")) if path.name != "__init__.py"]
ENTRY_POINTS = {"__main__.py", "command_line.py"}  # run by test_cli.py


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_module_has_its_test_and_a_natural_size(module):
    inside = module.relative_to(ROOT / "lit_knn")
    assert inside.name in ENTRY_POINTS or (ROOT / "tests" / inside.with_name(f"test_{inside.name}")).exists()
    assert len(module.read_text().splitlines()) <= 250
    assert module.stem not in {"utils", "helpers", "common", "misc"}


def test_input_is_not_checked_by_assert_and_nothing_is_unpickled():
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            assert not isinstance(node, ast.Assert), module
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "joblib", "dill"}, module


def test_the_top_level_is_fixed():
    allowed = {"pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md"}
    folders = {"lit_knn", "configs", "findings", "tests", "slurm", "tools"}
    made_here = {"runs", "data", "wandb", "build", "dist"}  # ignored by git
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".") and path.suffix != ".egg-info"}
    assert allowed | folders <= found <= allowed | folders | made_here


def test_sbatch_files_are_resources_and_one_command():
    for path in (ROOT / "slurm").glob("*.sbatch"):
        text = path.read_text()
        assert len(text.splitlines()) <= 40
        assert text.count("srun ") == text.count("srun lit-knn ") == 1
