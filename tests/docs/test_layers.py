"""The layers of ARCHITECTURE.md, held by reading the source: who may import whom, who talks to the world, how long a file is.

A module's room is its folder; what stands in none fails here until somebody has thought about it.
"""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import batchgen

PACKAGE = Path(batchgen.__file__).parent

# The rooms from the bottom up: a module may import from its own room and from those of the lines before it here. Rooms of
# one line never import each other.
ROOMS = (
    ("",),  # the top: values
    ("images", "http", "manual"),
    ("request",),
    ("money", "manifest"),
    ("ledger", "api", "storage"),
    ("run",),
    ("page", "night"),
    ("cli",),
)
#: What stands in no room, since every room may use it. A new one needs a reason why it has none.
TOP = {
    "",
    "__main__",
    "errors",
    "models",
    "jobs",
    "judgements",
    "advice",
    "amounts",
    "escapes",
    "limits",
    "masking",
    "names",
    "files",
    "disk",
    "loops",  # the ledger and storage, which never import each other, both have to know
}
FACE = ""  # hands out what programs have, and loads it when it is asked for: it stands above all, and is imported by all
SANDBOX_MAY = {"", "errors", "files"}  # besides itself; and only cli may import the sandbox

#: Only decide, as a whole; and what else does, of the rooms that act.
DECIDE = {"", "images", "request", "money", "manifest"}
DECIDES = {
    *("http.endpoint", "http.networks", "http.addresses", "http.bodies", "http.fields"),
    *("ledger.transitions", "ledger.conditions"),
    *("api.responses", "api.task_shapes", "api.codes", "api.credentials"),
    *("storage.clip_hosts", "storage.mp4"),
    "night.public_url",
    *(
        "run.options",
        "run.clip_paths",
        "run.plan",
        "run.approved",
        "run.slots",
        "run.polling",
        "run.waits",
        "run.budget",
        "run.shortage",
        "run.download_limit",
        "run.clip_times",
        "run.lanes",
        "run.last_moments",
        "run.pool",
        "run.dispositions",
        "run.outcomes",
        "run.failures",
        "run.buckets",
        "run.tally",
    ),
}
#: Commands that answer without the network, with what they are made of; and what they are quick without.
OFFLINE = {"manifest.reader", "run.planning", "run.survey", "run.dry_run", "ledger.reader"}
OFFLINE |= {
    "cli.main",
    "cli.init",
    "cli.validate",
    "cli.plan",
    "cli.wanted",
    "cli.forecast",
    "cli.export",
    "cli.preview",
    "cli.report",
    "cli.status",
    "cli.details",
    "cli.resolve",
    "cli.export_rows",
    "cli.report_page",
    "cli.help",
    "cli.why",
    "cli.completion",
    "cli.words",
}
ONLINE = {"http.transport", "api.client", "storage.download", "run.runner", "run.lifecycle"}

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
# A night has one clock and one chance, which whoever starts it gives; how long things last is the event loop's to say.
TIMED = {"ledger", "api", "http", "storage", "run", "sandbox"}
OWN_TIME = {
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.monotonic_ns",
    "time.perf_counter",
    "time.sleep",
}
OWN_TIME |= {"datetime.now", "datetime.utcnow", "date.today", "uuid.uuid1", "uuid.uuid4"}
OWN_TIME_MAY = {
    "api.keys",  # waits for a command, before there is a loop
    "ledger.lock",  # waits for another process, before there is a loop
    "sandbox.command",  # where a sandbox starts
}
PRINTERS = {
    "cli.arguments",  # argparse does, by itself
    "__main__",
    "cli.ending",
    "cli.execute",
    "cli.main",
    "cli.output",
    "cli.progress",
    "cli.words",
    "sandbox.__main__",
    "sandbox.command",
}
SPEECH = {"print", "input", "exit", "quit", "SystemExit"}
SPEECH |= {"sys.exit", "sys.stdout", "sys.stderr", "os._exit"}
LONGEST = 400  # lines

HEIGHT = {name: height for height, names in enumerate(ROOMS) for name in names}


def sources() -> dict[str, str]:
    """The package's modules by their name below ``batchgen``, ``""`` being the package itself."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text("utf-8")
    return found


def room(module: str) -> str:
    """The room that a module stands in; ``""`` is the top."""
    if module == "__main__":
        return "cli"  # where it starts
    first = top(module)
    return first if first in HEIGHT or first == "sandbox" else ""


def imports(module: str, tree: ast.AST) -> Iterator[str]:
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
    trees = {module: ast.parse(source) for module, source in modules.items() if module != FACE}
    return {
        module: {found for name in imports(module, tree) if (found := inner(name, modules)) is not None}
        for module, tree in trees.items()
    }


def forbidden(importer: str, imported: str) -> bool:
    upper, lower = room(importer), room(imported)
    if upper == "sandbox":
        return lower != "sandbox" and imported not in SANDBOX_MAY
    if lower == "sandbox":
        return upper != "cli"
    return upper != lower and HEIGHT[lower] >= HEIGHT[upper]


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
        if (room(module) not in DECIDE and module not in DECIDES) or module == FACE:
            continue
        tree = ast.parse(source)
        wrong += [
            f"{module} imports {below}"
            for name in imports(module, tree)
            if (below := inner(name, modules)) and below not in DECIDES and room(below) not in DECIDE
        ]
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


def own_time(modules: Mapping[str, str]) -> list[str]:
    """Every call that asks the machine for the time or for chance, where both are given."""
    wrong = []
    for module, source in sorted(modules.items()):
        if room(module) not in TIMED or module in OWN_TIME_MAY:
            continue
        tree = ast.parse(source)
        calls = {
            ast.unparse(node.func).replace("datetime.datetime", "datetime")
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
        }
        names = {name for name in imports(module, tree) if name.startswith(("time.", "random.", "secrets."))}
        wrong += [
            f"{module} uses {word}"
            for word in sorted(calls | names)
            if word in OWN_TIME or word.startswith(("random.", "secrets."))
        ]
    return wrong


def started(module: str, modules: Mapping[str, str]) -> set[str]:
    """The modules that are loaded with this one, before any of its functions is called."""
    loaded: set[str] = set()
    waiting = [module]
    while waiting:
        one = waiting.pop()
        if one in loaded:
            continue
        loaded.add(one)
        for statement in ast.parse(modules[one]).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                names = imports(one, ast.Module([statement], []))
                waiting += [found for name in names if (found := inner(name, modules)) is not None]
    return loaded


def test_what_stands_in_no_room_has_a_reason() -> None:
    assert {module for module in sources() if room(module) == "" or module == "__main__"} == TOP


def test_every_room_has_modules_and_its_one_reason_in_a_sentence() -> None:
    modules = sources()
    assert {room(module) for module in modules} == {*HEIGHT, "sandbox"}
    for name in {*HEIGHT} - {""}:
        (statement,) = ast.parse(modules[name]).body
        assert re.fullmatch(r"[A-Z][^.]+\.", ast.get_docstring(ast.Module([statement], [])) or ""), name
        assert any(module.startswith(f"{name}.") for module in modules), name


def test_what_is_said_to_decide_is_there() -> None:
    assert {*DECIDES, *PRINTERS, *OFFLINE, *ONLINE, *SANDBOX_MAY} <= sources().keys()
    assert {module for module in DECIDES if room(module) in DECIDE} == set()


@pytest.mark.parametrize("module", sorted(OFFLINE))
def test_what_needs_no_network_loads_no_client_and_no_runner(module: str) -> None:
    assert started(module, sources()) & ONLINE == set()


def test_imports_go_down_the_layers_and_never_in_circles() -> None:
    assert wrong_imports(sources()) == []


def test_decisions_use_no_network_no_clock_and_no_chance_of_their_own() -> None:
    assert wrong_decisions(sources()) == []


def test_a_night_asks_for_the_time_and_for_chance_where_they_were_given() -> None:
    assert {room(module) for module in sources()} >= TIMED
    assert own_time(sources()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\ndef f(now=time.time): return now()", False),
        ("import random\ndef f(rng: random.Random): return rng.random()", False),
        ("import asyncio\nx = asyncio.get_running_loop().time()", False),
        ("import time\nx = time.time() - 1", True),
        ("from time import monotonic", True),
        ("import random\nx = random.Random()", True),
        ("from datetime import datetime\nx = datetime.now()", True),
        ("import datetime\nx = datetime.datetime.now()", True),
    ],
)
def test_time_and_chance_of_its_own_are_found(source: str, found: bool) -> None:
    assert bool(own_time({"run.x": source})) == found
    assert own_time({"cli.x": source, "ledger.lock": source}) == []


def test_the_encoder_of_clips_is_loaded_where_one_is_made_and_nowhere_else() -> None:
    importers = {
        module for module, source in sources().items() if "av" in map(top, imports(module, ast.parse(source)))
    }
    assert importers == {"sandbox.encoding"}
    statements = ast.parse(sources()["sandbox.encoding"]).body
    named = {
        name
        for one in statements
        if isinstance(one, ast.Import | ast.ImportFrom)
        for name in imports("sandbox.encoding", ast.Module([one], []))
    }
    assert not {"av", "PIL"} & set(map(top, named))


def test_only_the_surface_prints_and_exits() -> None:
    assert wrong_speech(sources()) == []


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {module: len(source.splitlines()) for module, source in sources().items()}
    assert {module: lines for module, lines in lengths.items() if lines > LONGEST} == {}


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ({"errors": "from batchgen.models import Job", "models": ""}, []),
        ({"models": "from batchgen.run import plan", "run.plan": ""}, ["models imports run.plan"]),
        ({"request.rules": "from batchgen.images.x import y", "images.x": ""}, []),
        (
            {"images.x": "import batchgen.request.rules", "request.rules": ""},
            ["images.x imports request.rules"],
        ),
        (
            {"manifest.x": "def f():\n    from batchgen.ledger.x import Y", "ledger.x": ""},
            ["manifest.x imports ledger.x"],
        ),
        ({"api.x": "from batchgen.ledger.y import Z", "ledger.y": ""}, ["api.x imports ledger.y"]),
        ({"money.x": "from batchgen.manifest import y", "manifest.y": ""}, ["money.x imports manifest.y"]),
        ({"ledger.x": "from batchgen.ledger.lock import Lock", "ledger.lock": ""}, []),
        ({"ledger.x": "from batchgen.run.y import Z", "run.y": ""}, ["ledger.x imports run.y"]),
        ({"run.x": "from batchgen.cli.main import main", "cli.main": ""}, ["run.x imports cli.main"]),
        ({"__main__": "from batchgen.cli.main import main", "cli.main": ""}, []),
        (
            {"run.x": "from batchgen.sandbox import tasks", "sandbox.tasks": ""},
            ["run.x imports sandbox.tasks"],
        ),
        ({"cli.x": "from batchgen.sandbox import tasks", "sandbox.tasks": ""}, []),
        ({"sandbox.x": "from batchgen import files", "files": ""}, []),
        (
            {"sandbox.x": "from batchgen.request import rules", "request.rules": ""},
            ["sandbox.x imports request.rules"],
        ),
        (
            {
                "run.plan": "import batchgen.run.slots",
                "run.slots": "import batchgen.run.pool",
                "run.pool": "import batchgen.run.plan",
            },
            ["cycle: run.plan - run.slots - run.pool - run.plan"],
        ),
    ],
)
def test_an_import_against_the_layers_is_found(modules: dict[str, str], expected: list[str]) -> None:
    found = wrong_imports({"": "", "sandbox": "", **dict.fromkeys(HEIGHT, ""), **modules})
    assert [word.split(":")[0] for word in found] == [word.split(":")[0] for word in expected]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import aiohttp.web", ["run.plan imports aiohttp.web"]),
        ("from asyncio import sleep", ["run.plan imports asyncio.sleep"]),
        ("from urllib.parse import quote", []),
        ("from urllib.request import urlopen", ["run.plan imports urllib.request.urlopen"]),
        ("import random\ndef f(chance: random.Random): return chance.random()", []),
        ("import random\nx = random.random()", ["run.plan uses random.random"]),
        ("from batchgen.run import pool", []),
        ("from batchgen.api.client import Api", ["run.plan imports api.client"]),
    ],
)
def test_a_decision_with_effects_is_found(source: str, expected: list[str]) -> None:
    assert (
        wrong_decisions({"": "", "run.plan": source, "run.pool": "", "api.client": "import aiohttp"})
        == expected
    )


@pytest.mark.parametrize(
    "source", ["print(1)", "import sys\nsys.exit(1)", "from sys import exit", "raise SystemExit"]
)
def test_a_module_that_prints_or_exits_is_found(source: str) -> None:
    assert len(wrong_speech({"run.runner": source, "cli.output": source})) == 1
