"""Who may import whom, and who may print: read from the syntax trees of all modules."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
    for package in ("hazegen", "aodnet")
    for path in sorted((ROOT / package).rglob("*.py"))
}

PURE = {
    f"hazegen.{name}" for name in ("physics", "color", "geometry", "recipe", "sampling", "fields", "light", "synthesis")
}
PURE |= {"hazegen.scattering", "hazegen.render", "hazegen.kernel", "hazegen.camera"}
PURE |= {"hazegen.scenery", *(name for name in MODULES if name.startswith("hazegen.scenery"))}
FAST = {"hazegen.render", "hazegen.kernel", "hazegen.camera"}  # these alone may use cv2 and numba too
PRINTERS = {name for name in MODULES if name.startswith("hazegen.cli")}
PRINTERS |= {name for name in MODULES if name.startswith("aodnet.cli_")} | {
    "aodnet.quiet",
    "aodnet.demo",
    "aodnet.interrupts",
    "aodnet.telling",
    "hazegen.verbs",
    "hazegen.progress",
}
ONLY_IN = {
    "wandb": {"hazegen.tracking", "hazegen.artifacts", "aodnet.callbacks"},
    "gradio": {f"aodnet.demo_{name}" for name in ("page", "setup", "dehaze_tab", "haze_tab")},
    "torch": set(),
}


def imports(tree: ast.Module) -> Iterator[str]:
    """Full names of all that a module imports, also inside its functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def uses(tree: ast.Module, package: str) -> bool:
    return any(name.split(".")[0] == package for name in imports(tree))


def test_the_modules_are_found():
    assert {"hazegen.make", "hazegen.depth.readers", "aodnet.model"} <= set(MODULES)
    assert len(MODULES) > 30


@pytest.mark.parametrize("name", sorted(PURE & set(MODULES)))
def test_pure_module_imports_only_numpy_scipy_and_its_like(name):
    allowed = {"numpy", "scipy"} | ({"cv2", "numba"} if name in FAST else set()) | set(sys.stdlib_module_names)
    for imported in imports(MODULES[name]):
        if imported.split(".")[0] != "hazegen":
            assert imported.split(".")[0] in allowed, imported
        elif imported != "hazegen":
            # 'from hazegen.errors import X' gives both the module and the name in it.
            assert any(f"{imported}.".startswith(f"{pure}.") for pure in PURE | {"hazegen.errors"}), imported


IN_OUT = {"open", "print", "input", "exec", "eval"}
IN_OUT_MODULES = {"io", "os", "pathlib", "subprocess", "socket", "sys", "shutil", "tempfile", "logging"}


@pytest.mark.parametrize("name", sorted(PURE & set(MODULES)))
def test_pure_module_does_no_input_or_output(name):
    tree = MODULES[name]
    assert not {imported.split(".")[0] for imported in imports(tree)} & IN_OUT_MODULES
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & IN_OUT


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith("hazegen")))
def test_hazegen_imports_neither_aodnet_nor_tensorflow(name):
    for package in ("aodnet", "tensorflow", "keras"):
        assert not uses(MODULES[name], package)


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith("aodnet")))
def test_aodnet_never_imports_the_command_line_of_hazegen(name):
    assert not any(imported.startswith("hazegen.cli") for imported in imports(MODULES[name]))


@pytest.mark.parametrize("package", sorted(ONLY_IN))
def test_heavy_packages_are_imported_where_they_belong_alone(package):
    assert {name for name, tree in MODULES.items() if uses(tree, package)} <= ONLY_IN[package]


@pytest.mark.parametrize("name", sorted(set(MODULES) - PRINTERS))
def test_library_module_prints_nothing(name):
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in {("sys", "stdout"), ("sys", "stderr")}, f"line {node.lineno}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_errors_are_never_swallowed_whole(name):
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_global_random_state_is_never_used(name):
    assert "random" not in {imported.split(".")[0] for imported in imports(MODULES[name])}
    allowed = {"Generator", "Philox", "PCG64", "SeedSequence", "default_rng"}
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("np.random", "numpy.random"):
            assert node.attr in allowed, f"{node.attr} in line {node.lineno}"


def test_there_is_no_module_of_leftovers():
    leftovers = {"utils", "util", "helpers", "misc", "common"}
    assert not {name for name in MODULES if name.split(".")[-1] in leftovers}


def test_every_module_says_what_it_is_for():
    silent = [name for name, tree in MODULES.items() if tree.body and not ast.get_docstring(tree)]
    assert silent == []
