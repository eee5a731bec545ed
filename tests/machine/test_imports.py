"""What each command may import: all else would be time and memory that every start takes, for nothing."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import pytest

from tests.support.pictures import make_png
from tests.support.program import Desk, sandbox

#: Parts of the standard library that take a millisecond or more. What isn't here may be imported by all.
COSTLY = {
    *("asyncio", "concurrent", "csv", "ctypes", "decimal", "difflib", "email", "http", "importlib.metadata"),
    *("ipaddress", "multiprocessing", "random", "socket", "sqlite3", "ssl", "subprocess", "tempfile"),
    *("unittest", "urllib", "xml", "xmlrpc", "zoneinfo"),
}


@dataclass(frozen=True)
class May:
    """What may be imported: of the standard library's costly parts, packages, and of batchgen rooms and modules."""

    costly: frozenset[str] = frozenset()
    packages: frozenset[str] = frozenset()
    batchgen: frozenset[str] = frozenset()

    def and_also(self, costly: str = "", packages: str = "", batchgen: str = "") -> May:
        """These, and others besides."""
        return May(
            self.costly.union(costly.split()),
            self.packages.union(packages.split()),
            self.batchgen.union(batchgen.split()),
        )


# A room stands for all of its modules, but for `run`: its modules are named.
PARSER = May().and_also(
    batchgen="cli manifest.configuration manifest.isolation run.download_limit sandbox.command",
)
COMMAND = PARSER.and_also("ctypes", "orjson", "api.keys")
LEDGER = COMMAND.and_also(
    "sqlite3 ipaddress urllib",
    "",
    "ledger request.json_text money.periods",
)
_REQUESTS = "csv decimal difflib email importlib.metadata ipaddress random socket urllib"
MANIFESTS = COMMAND.and_also(
    f"{_REQUESTS} concurrent",
    "jsonschema_rs pybase64 xxhash yaml",
    "http.networks images request manifest run.buckets",
)
PLAN = MANIFESTS.and_also(
    "sqlite3",
    "",
    "http.bodies http.endpoint money storage.clips storage.partfile storage.roots"
    " run.clip_paths run.configured run.failures run.loading run.ordered run.plan run.planning run.survey run.waits",
).and_also(batchgen=" ".join(LEDGER.batchgen))
HELP = COMMAND.and_also(
    "ipaddress random tempfile urllib importlib.metadata",
    "",
    "manual request.schema request.findings request.messages request.json_text",
)
MAY = {
    "--version": PARSER,
    "--help": PARSER,
    "help": HELP,
    "help manifest": HELP,
    "help run": HELP,
    "status": LEDGER.and_also(batchgen="run.buckets run.waits"),
    "export": LEDGER.and_also(
        "csv email importlib.metadata random socket",
        "pybase64 xxhash",
        "http.addresses http.bodies images request storage.clips storage.partfile storage.roots",
    ),
    # Without Pillow where no thumbnail is missing. What is costly here, Jinja2 imports.
    "report": LEDGER.and_also(
        "concurrent csv decimal difflib email importlib.metadata random socket tempfile zoneinfo",
        "jinja2 markupsafe pybase64 tzdata xxhash",
        "page http.addresses http.bodies http.endpoint api.codes images money request storage run.buckets run.changed run.charges run.clip_paths run.configured run.failures run.plan run.tally run.waits",
    ),
    "init -q in": PLAN.and_also(batchgen="run.dry_run"),
    "validate m.yaml": MANIFESTS,
    "plan m.yaml": PLAN.and_also(batchgen="run.dry_run"),
    # No event loop, and nothing of the network: there is nothing to do.
    "run m.yaml": PLAN.and_also(
        "tempfile",
        "",
        "http.addresses storage.clip_hosts"
        " run.approved run.budget run.changed run.cliplog run.clock run.doubts run.events run.inventory run.lanes"
        " run.last_moments run.naming run.options run.outcomes run.polling run.pool run.recording run.session run.shortage run.slots"
        " run.tally storage.threads",
    ),
}
PROGRAM = """
import sys
before = set(sys.modules)
from batchgen.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print(*sorted(set(sys.modules) - before), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk on the morning after a night: its ledger has all jobs of ``m.yaml``, and the API is gone."""
    desk = Desk(tmp_path_factory.mktemp("night"))
    job = {"model_name": "kling-v3", "image": "https://a.org/a.png", "prompt": "x"}
    desk.write("m.yaml", json.dumps({"version": 1, "jobs": [job]}))
    desk.write("in/a.png", make_png())
    with sandbox(desk.folder, "--task-seconds", "0.1") as server:
        done = desk.against(server).run("run", "--poll-interval", "0.05", "m.yaml")
        assert done.code == 0, done.err
    desk.program = (sys.executable, "-c", PROGRAM)
    return desk


@pytest.mark.parametrize("command", MAY)
def test_a_command_imports_what_it_may_and_nothing_else(night: Desk, command: str) -> None:
    may, ended = MAY[command], night.run(*command.split())
    assert ended.code == 0, ended.err
    loaded = ended.err.split()
    names = {name.removeprefix("batchgen.") for name in loaded if name.startswith("batchgen.")}
    modules = {name for name in names if "." in name}  # else a room, or of the top
    assert {
        name for name in modules - may.batchgen if name.startswith("run.") or top(name) not in may.batchgen
    } == set()
    others = {
        name for name in map(top, loaded) if name.isidentifier() and not name.startswith(("_", "cython"))
    }
    assert others - sys.stdlib_module_names - {"batchgen"} - may.packages == set()
    assert {name for name in loaded if name in COSTLY} - may.costly == set()
    assert may.packages <= others  # else the list says more than there is
    assert {name for name in may.batchgen if "." in name} <= names


def top(name: str) -> str:
    return name.partition(".")[0]
