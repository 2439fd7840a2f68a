"""The dependency direction between the packages, read from the source of every module.

entry points → cli → local → app (the wiring) → node → train → config, ports → protocol
                     simulate → node, adapters
                             app → adapters → ports, protocol, errors
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "boltzmann"
MODULES = sorted(PACKAGE.rglob("*.py"))
ENTRY_POINTS = [ROOT / name for name in ("miner.py", "validator.py") if (ROOT / name).exists()]
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# What each part may import from the package, besides itself. "" is the bare package: its version.
_VALUES = {"protocol", "errors", "privacy", ""}
_ADAPTER = _VALUES | {"ports"}
_CORE = _ADAPTER | {"config"}
ADAPTERS = {"chain", "store", "data", "telemetry"}
ALLOWED: dict[str, set[str]] = {
    "": set(),
    "privacy": set(),
    "errors": {"privacy"},
    "protocol": set(),
    "ports": _VALUES,
    "config": _VALUES,
    **dict.fromkeys(ADAPTERS, _ADAPTER),
    "train": _CORE,
    "node": _CORE | {"train"},
    "audit": _CORE | {"train", "node"},
    # Only these know both a node and what stands behind its ports.
    "app": _CORE | {"train", "node"} | ADAPTERS,
    "local": _CORE | {"train", "node", "app"} | ADAPTERS,
    "simulate": _CORE | {"train", "node"} | ADAPTERS,
    "__main__": {"cli"},
    "cli": _CORE | {"train", "node", "audit", "app", "local", "simulate"} | ADAPTERS,
}
PROTOCOL_IMPORTS = {
    *("__future__", "abc", "base64", "binascii", "bisect", "collections", "dataclasses", "enum"),
    *("fractions", "functools", "hashlib", "itertools", "json", "math", "operator", "re"),
    *("statistics", "struct", "types", "typing", "numpy", "torch", "boltzmann"),
}
PROTOCOL_MODULES = {"urllib.parse"}  # of a package that also reaches outside
# hash() of text and id() differ between processes; the others reach outside.
PROTOCOL_NEVER_CALLS = {"hash", "id", "open", "input", "print", "exec", "eval", "__import__"}
WORK_AT_IMPORT = {
    *("getenv", "load_dotenv", "dotenv_values", "basicConfig", "dictConfig", "addHandler"),
    *("client", "Client", "connect", "Popen", "mkdir", "open", "print", "set_start_method"),
    *("read_text", "read_bytes", "manual_seed", "set_num_threads"),
}
HEAVY = {"torch", "transformers", "datasets", "wandb", "bittensor", "boto3", "moto", "pyarrow"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), name_of(path))


def part_of(module: str) -> str:
    """`boltzmann.store.s3` -> `store`; the package itself is ``."""
    return module.split(".")[1] if "." in module else ""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import, inside functions and by name as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names = [alias.name for alias in node.names]
            for name in names:
                whole = base == "boltzmann" and not name.startswith("__")
                # from boltzmann import errors, but not: from boltzmann import __version__
                yield node.lineno, f"{base}.{name}" if whole else base
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "boltzmann":
            if not node.attr.startswith("__"):  # import boltzmann; boltzmann.errors
                yield node.lineno, f"boltzmann.{node.attr}"
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
            constants = [part.value for part in node.args[:1] if isinstance(part, ast.Constant)]
            yield node.lineno, str(constants[0]) if constants else "a computed name"


def called(node: ast.Call) -> str:
    """The last name of what is called."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def wrong_imports(tree: ast.AST, part: str) -> list[str]:
    """Imports that point against the direction, from a module of `part`."""
    found = []
    for line, module in imports(tree):
        if module.startswith("."):
            found.append(f"{line}: {module} is relative; write the whole name")
        if module == "a computed name":
            found.append(f"{line}: {module} hides what is imported")
        if module.split(".")[0] == "boltzmann" and part_of(module) not in ALLOWED[part] | {part}:
            found.append(f"{line}: {part} must not import {module}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_follow_the_direction(path: Path) -> None:
    part = part_of(module_of(path))
    assert part in ALLOWED, f"{part} has no place in the dependency direction: see ALLOWED"
    assert wrong_imports(tree_of(path), part) == []


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("protocol", "from boltzmann.errors import StateError"),
        ("store", "from boltzmann.chain.subtensor import Subtensor"),
        ("store", "import boltzmann.config"),
        ("node", "def f():\n    from boltzmann.store.s3 import S3Store"),
        ("node", "from boltzmann import cli"),
        ("node", "from boltzmann.app.setup import open_node"),
        ("telemetry", "import boltzmann; boltzmann.node.miner.mine()"),
        ("protocol", "import boltzmann"),
        ("train", "importlib.import_module('boltzmann.node.miner')"),
        ("train", "importlib.import_module(name)"),
        ("chain", "from .embedded import x"),
    ],
)
def test_the_check_sees_each_kind_of_import(part: str, source: str) -> None:
    assert len(wrong_imports(ast.parse(source), part)) == 1


@pytest.mark.parametrize("path", [*MODULES, *BENCHMARKS], ids=name_of)
def test_only_entry_points_import_the_command_line(path: Path) -> None:
    if part_of(module_of(path)) in ("cli", "__main__"):
        return
    assert not [
        module for _, module in imports(tree_of(path)) if module.startswith("boltzmann.cli")
    ]


@pytest.mark.parametrize("path", sorted((PACKAGE / "protocol").glob("*.py")), ids=name_of)
def test_the_protocol_is_pure(path: Path) -> None:
    tree = tree_of(path)
    named = {module for _, module in imports(tree)} - PROTOCOL_MODULES
    assert {module.split(".")[0] for module in named} <= PROTOCOL_IMPORTS
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in PROTOCOL_NEVER_CALLS, f"line {node.lineno}"
        if isinstance(node, ast.Attribute) and node.attr == "random":
            pytest.fail(f"line {node.lineno}: a library's generator is stable per build only")


def module_level_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: everything but the bodies of functions."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and "__main__" in ast.unparse(child.test):
            continue
        yield child
        yield from module_level_nodes(child)


@pytest.mark.parametrize("path", [*MODULES, *ENTRY_POINTS, *BENCHMARKS], ids=name_of)
def test_importing_does_no_work(path: Path) -> None:
    for node in module_level_nodes(tree_of(path)):
        if isinstance(node, ast.Call):
            assert called(node) not in WORK_AT_IMPORT, f"line {node.lineno}"
        if isinstance(node, ast.Attribute):
            assert node.attr != "environ", f"line {node.lineno}: read the environment when asked"


def loaded_by(modules: list[str]) -> set[str]:
    """The heavy third parties that a fresh interpreter holds after importing `modules`."""
    program = f"import sys, {', '.join(modules)}\nprint(*set({sorted(HEAVY)}) & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_protocol_and_the_seams_load_nothing_heavy() -> None:
    light = [
        path for path in MODULES if part_of(module_of(path)) in {"protocol", "ports", "errors"}
    ]
    assert len(light) > 15
    assert loaded_by([module_of(path) for path in light]) == set()


def test_the_command_line_starts_without_the_training_stack() -> None:
    command_line = [
        path for path in MODULES if part_of(module_of(path)) in {"cli", "app", "config"}
    ]
    loaded = loaded_by([module_of(path) for path in command_line])
    assert loaded & {"torch", "transformers", "datasets", "wandb"} == set()


@pytest.mark.parametrize("path", [*MODULES, *ENTRY_POINTS, *BENCHMARKS], ids=name_of)
def test_files_and_functions_fit_on_a_screen(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"
