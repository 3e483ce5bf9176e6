"""Rules of the house that no single module can keep."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [path for path in sorted((ROOT / "lit_knn").rglob("*.py")) if path.name != "__init__.py"]
LAYERS = (  # lowest first: an import may only go down
    "errors",
    "storage",
    "randomness",
    "distributed",
    "report",
    "data",
    "backbones",
    "database",
    "defenses",
    "threat_models",
    "attacks",
    "evaluation",
    "doctor",
    "engine",
    "notebook",
    "cli",
    "__main__",
)
ROOT_MODULES = {"__init__.py", "__main__.py", "errors.py", "randomness.py"}
ENTRY_POINTS = {"__main__.py", "command_line.py"}  # run by test_cli.py


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_module_has_its_test_and_a_natural_size(module):
    inside = module.relative_to(ROOT / "lit_knn")
    assert inside.name in ENTRY_POINTS or (ROOT / "tests" / inside.with_name(f"test_{inside.name}")).exists()
    assert len(module.read_text().splitlines()) <= 250
    assert module.stem not in {"utils", "helpers", "common", "misc"}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_import_only_goes_down(module):
    room = module.relative_to(ROOT / "lit_knn").with_suffix("").parts[0]
    tree = ast.parse(module.read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported = {name.split(".")[1] for name in names if name.startswith("lit_knn.")}
    assert {other for other in imported if LAYERS.index(other) > LAYERS.index(room)} == set()


def test_every_room_has_a_layer_and_the_root_is_empty():
    package = ROOT / "lit_knn"
    assert {path.name for path in package.glob("*.py")} <= ROOT_MODULES
    rooms = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= {*LAYERS}


def test_no_export_is_called_like_a_file_beside_it():
    """Else `import lit_knn.room.name` gives the one or the other, and the reference has the file."""
    for path in (ROOT / "lit_knn").rglob("__init__.py"):
        assigned = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign))
        exported = {
            name
            for node in assigned
            if ast.unparse(node.targets[0]) == "__all__"
            for name in ast.literal_eval(node.value)
        }
        inside = {other.stem for other in path.parent.iterdir()}
        assert not exported & inside, path


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
