"""What holds for every test: no key and no ledger of the person who runs them is ever within reach.

What they write lies in memory, where there is room for it: thousands of ledgers and clips are synced on a disk
otherwise. ``TMPDIR`` names another place.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from tests.support.browser import Browser
    from tests.support.program import Desk, Server

# A deadline per example, or for making examples, would measure the machine, not the rule. The same examples each time: what fails a commit is
# that commit's. `make explore` goes on to others.
SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("batchgen", deadline=None, suppress_health_check=SLOW, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, suppress_health_check=SLOW, max_examples=1000)
hypothesis.settings.load_profile("batchgen")

MEMORY = "/dev/shm"
ROOM = 2 << 30  # bytes; far beyond what all tests at once have


def in_memory() -> str | None:
    """A folder in memory with room for everything, from which programs can be started."""
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return None
    roomy = found.f_bavail * found.f_frsize >= ROOM
    usable = os.access(MEMORY, os.W_OK | os.X_OK) and not found.f_flag & os.ST_NOEXEC
    return MEMORY if roomy and usable else None


if "TMPDIR" not in os.environ and (folder := in_memory()) is not None:
    os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.tempdir = folder


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests, and the programs they start, see none of the settings of the person who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("POWERTOKENS_", "BATCHGEN_")) or name.lower().endswith("_proxy"):
                patch.delenv(name)
        for name in (
            "CREDENTIALS_DIRECTORY",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "NO_COLOR",
            "FORCE_COLOR",
            "PYTHONWARNINGS",
        ):
            patch.delenv(name, raising=False)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An empty folder, from which the program is called. A file of tests may lay more on it, by a fixture of its own."""
    from tests.support.program import Desk

    return Desk(tmp_path)


@pytest.fixture
def server(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A sandbox whose tasks take a moment, which the desk's programs talk to. A file of tests may have another."""
    from tests.support.program import sandbox

    with sandbox(tmp_path_factory.mktemp("server"), "--task-seconds", "0.05-0.1") as server:
        desk.against(server)
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real browser, one for all tests."""
    from tests.support.browser import opened

    with opened() as browser:
        yield browser


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly which tests were left out for want of a browser."""
    from tests.support.browser import MISSING

    left_out = [one.nodeid for one in terminalreporter.getreports("skipped") if MISSING in str(one.longrepr)]
    if left_out:
        terminalreporter.section("LEFT OUT", sep="!", red=True, bold=True)
        terminalreporter.line(f"{len(left_out)} tests of the page, since {MISSING}:", red=True)
        for nodeid in left_out:
            terminalreporter.line(f"  {nodeid}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make what a report shows UTF-8: with a name that is none, the worker that sends it ends, and all tests with it."""
    report = yield
    report.sections = [(title, _printable(text)) for title, text in report.sections]
    if _printable(shown := str(report.longrepr)) != shown:
        report.longrepr = _printable(shown)
    return report


def _printable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """``-n auto``: three workers more than there are cores, since many tests wait for programs that wait; unit tests don't."""
    waits = any(Path(path).name != "unit" for path in config.args)
    return (os.cpu_count() or 1) + 3 * waits
