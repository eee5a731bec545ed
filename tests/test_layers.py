"""The layers of ARCHITECTURE.md, held by reading the source: who may import whom, who talks to the world, how long a file is.

Every module has its place in the table: a new file without one fails here until somebody has thought about it.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import batchgen

PACKAGE = Path(batchgen.__file__).parent

# From the bottom up: a module may import from its own layer and from those that stand before it here.
LAYERS = {
    "values": ("", "errors", "models", "advice", "escapes", "limits"),
    "decisions": (
        *(
            "schema",
            "findings",
            "wording",
            "rules",
            "references",
            "urls",
            "networks",
            "clip_hosts",
            "yaml12",
            "manifest",
            "making",
            *(
                "folders",
                "sidecars",
                "leftovers",
                "globs",
                "names",
                "tables",
                "cells",
                "reading",
                "comments",
                "warnings",
                "wall",
                "listing",
                "positions",
            ),
            "placeholders",
            "sources",
            "origins",
            "trust",
        ),
        *(
            "images",
            "request",
            "prices",
            "answers",
            "codes",
            "fields",
            "task_shapes",
            "transitions",
            "plan",
            "pacing",
            "budget",
            "pool",
            "tally",
            "failures",
            "dispositions",
            "outcomes",
            "endpoint",
            "files",
            "addresses",
            "credentials",
            "masking",
            "mp4",
            "bodies",
        ),
    ),
    "footing": (
        "disk",
        "lock",
        "integrity",
        "rows",
        "database",
        "groupcommit",
        "records",
        "roots",
        "partfile",
        "transfer",
        "transport",
    ),  # what stands on the disk, and how requests leave
    "effects": ("ledger", "api", "download", "clips"),
    "runner": (
        "runner",
        "life",
        "following",
        "retrieval",
        "creating",
        "asking",
        "reach",
        "recovery",
        "cliplog",
        "naming",
        "survey",
        "inventory",
        "planning",
    ),
    "surface": (
        "settings",
        "keys",
        "options",
        "logs",
        "export",
        "report",
        "output",
        "preview",
        "job_names",
        "status",
        "resolve",
        "online",
        "ending",
        "cli",
        "__main__",
    ),
}
STRANGERS = {"effects"}  # layers whose modules never import each other
SANDBOX_MAY = {"", "errors", "files", "schema"}  # besides itself; and only the surface may import the sandbox

# Decisions get clock, chance and the network's answers as arguments.
UNDECIDED = {
    "aiohttp",
    "asyncio",
    "http",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "urllib.request",
}
PRINTERS = {"cli", "output", "online", "ending", "__main__", "sandbox.command", "sandbox.__main__"}
SPEECH = {"print", "input", "exit", "quit", "SystemExit"}
SPEECH |= {"sys.exit", "sys.stdout", "sys.stderr", "os._exit"}
LONGEST = 400  # lines

LAYER_OF = {module: layer for layer, modules in LAYERS.items() for module in modules}
HEIGHT = {layer: height for height, layer in enumerate(LAYERS)}


def sources() -> dict[str, str]:
    """The package's modules by their name below ``batchgen``, ``""`` being the package itself."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text("utf-8")
    return found


def imports(module: str, tree: ast.Module) -> Iterator[str]:
    """Full names of all that is imported anywhere in a module, also inside functions and TYPE_CHECKING.

    ``from a import b`` gives ``a.b``: b may be a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top(module: str) -> str:
    return module.partition(".")[0]


def inner(name: str, modules: Mapping[str, str]) -> str | None:
    """The module of batchgen that an imported name leads to; None where it leads elsewhere."""
    if top(name) != "batchgen":
        return None
    below = name.removeprefix("batchgen").removeprefix(".")
    while below not in modules:
        below = below.rpartition(".")[0]
    return below


def edges(modules: Mapping[str, str]) -> dict[str, set[str]]:
    trees = {module: ast.parse(source) for module, source in modules.items()}
    return {
        module: {found for name in imports(module, tree) if (found := inner(name, modules)) is not None}
        for module, tree in trees.items()
    }


def forbidden(importer: str, imported: str) -> bool:
    if top(importer) == "sandbox":
        return top(imported) not in {"sandbox", *SANDBOX_MAY}
    if top(imported) == "sandbox":
        return LAYER_OF.get(importer) != "surface"
    if importer not in LAYER_OF or imported not in LAYER_OF:
        return False  # without a place yet, which is found by itself
    upper, lower = LAYER_OF[importer], LAYER_OF[imported]
    return HEIGHT[lower] > HEIGHT[upper] or (lower == upper and lower in STRANGERS and importer != imported)


def wrong_imports(modules: Mapping[str, str]) -> list[str]:
    """Every import that goes against the layers, and the cycle where there is one."""
    graph = edges(modules)
    wrong = [
        f"{importer} imports {imported}"
        for importer, below in sorted(graph.items())
        for imported in sorted(below)
        if forbidden(importer, imported)
    ]
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        wrong.append("cycle: " + " - ".join(reversed(error.args[1])))
    return wrong


def wrong_decisions(modules: Mapping[str, str]) -> list[str]:
    """Every use of the world in a module that only decides."""
    wrong = []
    for module, source in sorted(modules.items()):
        if LAYER_OF.get(module) not in ("values", "decisions"):
            continue
        tree = ast.parse(source)
        for name in imports(module, tree):
            parts = name.split(".")
            if {parts[0], ".".join(parts[:2])} & UNDECIDED or (
                parts[0] == "random" and parts[1:] not in ([], ["Random"])
            ):
                wrong.append(f"{module} imports {name}")
        wrong += [
            f"{module} uses {word}"
            for word in spoken(tree)
            if word.startswith("random.") and word != "random.Random"
        ]
    return wrong


def spoken(tree: ast.Module) -> Iterator[str]:
    """Names, and names of modules' members as ``module.member``, in the order of the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wrong_speech(modules: Mapping[str, str]) -> list[str]:
    """Every module that prints or ends the process, though it isn't the surface."""
    return [
        f"{module} uses {word}"
        for module, source in sorted(modules.items())
        if module not in PRINTERS
        for word in spoken(ast.parse(source))
        if word in SPEECH
    ]


def test_every_module_has_its_place_in_the_layers() -> None:
    present = {module for module in sources() if top(module) != "sandbox"}
    assert present == set(LAYER_OF), "a new module needs its place in LAYERS, and one that is gone leaves it"
    assert len(LAYER_OF) == sum(map(len, LAYERS.values())), "a module stands in LAYERS twice"


def test_imports_go_down_the_layers_and_never_in_circles() -> None:
    assert wrong_imports(sources()) == []


def test_decisions_use_no_network_no_clock_and_no_chance_of_their_own() -> None:
    assert wrong_decisions(sources()) == []


def test_only_the_surface_prints_and_exits() -> None:
    assert wrong_speech(sources()) == []


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {module: len(source.splitlines()) for module, source in sources().items()}
    assert {module: lines for module, lines in lengths.items() if lines > LONGEST} == {}


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ({"errors": "from batchgen.models import Job", "models": ""}, []),
        ({"models": "from batchgen import plan", "plan": ""}, ["models imports plan"]),
        ({"plan": "import batchgen.ledger", "ledger": ""}, ["plan imports ledger"]),
        ({"plan": "def f():\n    from batchgen.api import Api", "api": ""}, ["plan imports api"]),
        ({"api": "from batchgen.ledger import Ledger", "ledger": ""}, ["api imports ledger"]),
        ({"ledger": "from batchgen.lock import Lock", "lock": ""}, []),
        ({"ledger": "from batchgen.runner import Runner", "runner": ""}, ["ledger imports runner"]),
        ({"runner": "from batchgen.cli import main", "cli": ""}, ["runner imports cli"]),
        (
            {"runner": "from batchgen.sandbox import tasks", "sandbox.tasks": ""},
            ["runner imports sandbox.tasks"],
        ),
        ({"cli": "from batchgen.sandbox import tasks", "sandbox.tasks": ""}, []),
        ({"sandbox.checks": "from batchgen import schema", "schema": ""}, []),
        ({"sandbox.checks": "from batchgen import rules", "rules": ""}, ["sandbox.checks imports rules"]),
        (
            {
                "plan": "import batchgen.pacing",
                "pacing": "import batchgen.pool",
                "pool": "import batchgen.plan",
            },
            ["cycle: plan - pacing - pool - plan"],
        ),
    ],
)
def test_an_import_against_the_layers_is_found(modules: dict[str, str], expected: list[str]) -> None:
    found = wrong_imports({"": "", "sandbox": "", **modules})
    assert [word.split(":")[0] for word in found] == [word.split(":")[0] for word in expected]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import aiohttp.web", ["plan imports aiohttp.web"]),
        ("from asyncio import sleep", ["plan imports asyncio.sleep"]),
        ("from urllib.parse import quote", []),
        ("from urllib.request import urlopen", ["plan imports urllib.request.urlopen"]),
        ("import random\ndef f(chance: random.Random): return chance.random()", []),
        ("import random\nx = random.random()", ["plan uses random.random"]),
    ],
)
def test_a_decision_with_effects_is_found(source: str, expected: list[str]) -> None:
    assert wrong_decisions({"plan": source, "api": "import aiohttp"}) == expected


@pytest.mark.parametrize(
    "source", ["print(1)", "import sys\nsys.exit(1)", "from sys import exit", "raise SystemExit"]
)
def test_a_module_that_prints_or_exits_is_found(source: str) -> None:
    assert len(wrong_speech({"runner": source, "cli": source})) == 1
