"""What is imported is declared in pyproject.toml, also where another package brings it today."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"tune_encoder", "tests"}
PROJECT = (ROOT / "pyproject.toml").read_text()


def declared():
    """The distributions in each list of pyproject.toml: `dependencies`, and each extra."""
    lists = PROJECT[PROJECT.index("\ndependencies = [") : PROJECT.index("\n[project.scripts]")]
    found = re.findall(r"^([\w-]+) = \[(.*?)\] *(?:#[^\n]*)?$", lists, re.MULTILINE | re.DOTALL)
    return {name: set(map(normal, re.findall(r'"([\w.-]+)', each))) for name, each in found}


def normal(distribution):
    return re.sub(r"[-_.]+", "-", distribution).lower()


def imported(path):
    """The packages that a file imports, also within functions, but not those for types alone."""
    tree = ast.parse(path.read_text())
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    typed = [each.body for each in blocks if ast.unparse(each.test) == "TYPE_CHECKING"]
    for_types = {node for body in typed for each in body for node in ast.walk(each)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and node not in for_types:
            yield from (alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node not in for_types:
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize(("folder", "absent"), [("tune_encoder", {"test"}), ("tests", set())])
def test_what_is_imported_is_declared(folder, absent):
    lists = declared()
    usable = set().union(*(names for name, names in lists.items() if name not in absent))
    sources = packages_distributions()

    undeclared = {
        f"{name} in {path.relative_to(ROOT)}"
        for path in (ROOT / folder).rglob("*.py")
        for name in imported(path)
        if name not in sys.stdlib_module_names | OURS
        and not usable & set(map(normal, sources.get(name, ())))
    }

    assert not undeclared


def test_who_installs_the_tests_gets_all_other_extras():
    apart = "listen"  # it needs a compiler for what is not used; see .ci/run
    extras = re.search(r'"tune-encoder\[(.+)\]"', PROJECT)

    assert extras is not None
    assert {*extras[1].split(","), "dependencies", "test", apart} == declared().keys()
