"""The shape of the code: size of files and functions, who may touch what, and the import rules."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.sources import PACKAGES, ROOT, nodes, parsed, product_files, tree

MOST_LINES_OF_A_FILE = 500
MOST_LINES_OF_A_FUNCTION = 60
MOST_FILES_OF_A_ROOM = 16

LONGER_FILES: dict[str, str] = {}
"""path -> why it is better whole."""
LONGER_FUNCTIONS: dict[str, str] = {}
"""path:name -> why it is better whole."""

PLACES = {
    "boto3": ("storage/",),
    "botocore": ("storage/",),
    "pycurl": ("storage/",),
    "click": ("s3migrate/",),
    "rich": ("s3migrate/",),
    "awscrt": ("storage/", "executor/", "schema/"),
}
"""Third-party package -> the only folders that may import it."""

ENVIRONMENT = {"s3migrate/settings.py", "storage/credentials.py"}
"""The only files that read os.environ..."""
ENVIRONMENT_FOR_CHILDREN = ("s3migrate/", "executor/")
"""...and, for the environment of a process they start, files here that say `environment` on the same line."""


def written_files() -> list[Path]:
    """Every Python file that people read: the product, its tests and its bench."""
    return [*product_files(), *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py"))]


def name_of(path: Path) -> str:
    """Relative to the repository."""
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> Iterator[str]:
    """Top-level names of the packages a file imports, wherever in it."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_the_packages_are_where_we_think() -> None:
    assert len(product_files()) > 20


def test_files_are_short() -> None:
    long = {name_of(p): n for p in written_files() if (n := len(p.read_text().splitlines())) > MOST_LINES_OF_A_FILE}
    tests = {name: n for name, n in long.items() if name.startswith("tests/")}

    assert {name: n for name, n in long.items() if name not in LONGER_FILES and name not in tests} == {}
    assert {name: n for name, n in tests.items() if n > 2 * MOST_LINES_OF_A_FILE} == {}


def test_no_room_holds_more_files_than_fit_in_one_look() -> None:
    """A folder with more modules than fit in one look has a room inside it that nobody has named."""
    files = Counter(name_of(path.parent) for path in product_files() if path.name != "__init__.py")
    assert {room: n for room, n in files.items() if n > MOST_FILES_OF_A_ROOM} == {}


def test_every_room_says_what_lives_in_it() -> None:
    rooms = [path for path in product_files() if path.name == "__init__.py"]
    silent = [name_of(path) for path in rooms if not ast.get_docstring(tree(path))]
    assert silent == []


def test_unit_tests_stand_where_what_they_test_stands() -> None:
    """A test file named after a module is in the folder that mirrors the module's."""
    astray = []
    for path in sorted((ROOT / "tests/unit").rglob("test_*.py")):
        folder, module = path.parent.relative_to(ROOT / "tests/unit"), f"{path.stem.removeprefix('test_')}.py"
        if folder.parts[0] in PACKAGES and not (ROOT / folder / module).exists():
            namesakes = [name_of(found) for found in (ROOT / folder.parts[0]).rglob(module)]
            if namesakes or not (ROOT / folder).is_dir():
                astray.append(f"{name_of(path)}: {namesakes}")
    assert astray == []


def test_a_public_class_has_one_name_of_its_own() -> None:
    named = Counter(
        node.name
        for path in product_files()
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, classes in named.items() if classes > 1] == []


def test_functions_are_short() -> None:
    long = {}
    for path in written_files():
        for node in parsed(path):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    long[f"{name_of(path)}:{node.name}"] = lines

    assert {name: lines for name, lines in long.items() if name not in LONGER_FUNCTIONS} == {}


def test_allowances_are_still_needed() -> None:
    files = {name_of(p) for p in written_files() if len(p.read_text().splitlines()) > MOST_LINES_OF_A_FILE}
    assert set(LONGER_FILES) <= files
    assert {name.partition(":")[0] for name in LONGER_FUNCTIONS} <= {name_of(p) for p in written_files()}


def test_third_party_packages_stay_in_their_place() -> None:
    strays = [
        f"{name_of(path)} imports {package}"
        for path in product_files()
        for package in sorted(set(imported(path)))
        if package in PLACES and not name_of(path).startswith(PLACES[package])
    ]
    assert strays == []


def test_the_environment_is_read_in_two_files() -> None:
    strays = []
    for path in product_files():
        name, text = name_of(path), path.read_text()
        lines = text.splitlines()
        for node in nodes(path):
            reads = isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
            if not reads or not isinstance(node.value, ast.Name) or node.value.id != "os":  # type: ignore[attr-defined]
                continue
            line = lines[node.lineno - 1]
            for_a_child = name.startswith(ENVIRONMENT_FOR_CHILDREN) and ("env=" in line or "environment" in line)
            if name not in ENVIRONMENT and not for_a_child:
                strays.append(f"{name}:{node.lineno}: {line.strip()}")
    assert strays == []


def test_no_layer_prints() -> None:
    """Output belongs to the face: what lies below returns values or logs."""
    strays = [
        f"{name_of(path)}:{node.lineno}"
        for path in product_files()
        if not name_of(path).startswith("s3migrate/")
        for node in nodes(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert strays == []


def test_imports_point_down() -> None:
    """The contracts in pyproject.toml."""
    checked = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


def test_every_folder_is_in_the_wheel() -> None:
    """Those with code, and those with data (schema/json, schema/migrations)."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    shipped = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()}
    found = {name_of(folder).replace("/", ".") for folder in shipped if folder.name != "__pycache__"}
    assert found == listed


@pytest.mark.parametrize("package", PACKAGES)
def test_nobody_else_owns_our_import_names(package: str) -> None:
    """PyPI has packages called schema, planner and executor; beside them ours could not be imported."""
    owners = {name.lower() for name in importlib.metadata.packages_distributions().get(package, [])}
    assert owners <= {"s3migrate"}
