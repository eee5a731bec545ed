"""A wheel, installed as README says and used from somewhere else: what people get is what the checkout has."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from batchgen import __version__
from batchgen.cli import hatch_build
from batchgen.sandbox.journal import load, summarize
from tests.floors import PROJECT, floors
from tests.support.documents import MANUAL, PACKAGE, README, ROOT, Shell, section, typed
from tests.support.pictures import make_png
from tests.support.program import KEY, Desk, Result

# README's `pip install` fetches what batchgen needs. Here nothing is fetched: that comes from the tests' interpreter.
OFFLINE = (
    "--no-index --no-deps --no-build-isolation --ignore-installed --disable-pip-version-check --no-compile"
)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A home in which README's way to install was gone, line by line."""
    shell = Shell(tmp_path_factory.mktemp("install") / "home")
    shell.cwd = ROOT
    for command, _ in typed(section(README, "Install")):
        if command.startswith("pipx "):
            continue  # a program that the tests don't bring; the lines after it do the same by hand
        words = shlex.split(command)
        if words[:3] == ["python3", "-m", "venv"]:
            came = shell.type(command)
            lend_dependencies(Path(words[3].replace("~", str(shell.home), 1)))
        else:
            came = shell.type(command.replace(" install ", f" install {OFFLINE} "))
        assert came.code == 0, came.out
    shell.cwd = shell.home
    return shell


def lend_dependencies(environment: Path) -> None:
    """Let a virtual environment see, after its own, what is installed for the tests.

    A path in a .pth file comes last, and .pth files in it are not read: the checkout stays out, also where it is installed
    in editable form, as in the project's .venv.
    """
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    own = next(environment.glob("lib/python*/site-packages"))
    (own / "of-the-tests.pth").write_text("".join(f"{place}\n" for place in sorted(places)))


def installed_package(shell: Shell) -> Path:
    place = shell.type(
        "cd / && ~/.local/share/batchgen/bin/python -c 'import batchgen; print(batchgen.__path__[0])'"
    )
    return Path(place.out.strip())


def test_the_installed_package_has_every_file_of_the_checkout_and_the_schemas(shell: Shell) -> None:
    package = installed_package(shell)
    assert package.is_relative_to(shell.home)
    expected = {
        name: PACKAGE / name for name in files_of(PACKAGE) if name.suffix != ".png"
    }  # README's picture
    expected |= {Path("schemas", name): ROOT / "schemas" / name for name in files_of(ROOT / "schemas")}
    made = {Path("completions", shell) for shell in ("bash", "zsh", "fish")}
    assert files_of(package) == set(expected) | made
    assert [
        name for name, file in expected.items() if (package / name).read_bytes() != file.read_bytes()
    ] == []


def files_of(folder: Path) -> set[Path]:
    """The files below a folder, without what tools leave there."""
    names = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not any(part.startswith((".", "__pycache__")) for part in name.parts)}


def test_nothing_else_is_installed_beside_the_package(shell: Shell) -> None:
    site = installed_package(shell).parent
    own = {path.name for path in site.iterdir()} - {
        "pip",
        "setuptools",
        "pkg_resources",
        "_distutils_hack",
        "of-the-tests.pth",
    }
    own = {
        name
        for name in own
        if not name.startswith(("pip-", "setuptools-", "distutils-")) and name != "__pycache__"
    }
    assert own == {"batchgen", f"batchgen-{__version__}.dist-info"}


def test_shells_and_man_find_what_is_installed_for_them(shell: Shell) -> None:
    home = installed_package(shell).parents[3]
    for place in hatch_build.PLACES.values():
        assert "batchgen" in (home / place).read_text("utf-8")
    for name in ("bash", "zsh", "fish"):
        printed = shell.type(f"cd / && batchgen completion {name}")
        assert printed == (0, (home / hatch_build.PLACES[name]).read_text("utf-8"))
    assert "/share/man/man1/batchgen.1" in shell.type(f"find {home} -name batchgen.1").out


@pytest.mark.parametrize("program", ["batchgen", "~/.local/share/batchgen/bin/python -m batchgen"])
def test_both_ways_to_start_it_say_the_same_version(shell: Shell, program: str) -> None:
    assert shell.type(f"cd / && {program} --version") == (0, f"batchgen {__version__}\n")


def test_the_installed_manual_is_shown_offline(shell: Shell) -> None:
    for topic, text in MANUAL.items():
        assert shell.type(f"cd / && batchgen help {topic} | cat").out.split() == text.split()


def test_an_upgrade_goes_as_it_is_written_and_leaves_one_program(shell: Shell) -> None:
    for command, shown in typed(section(MANUAL["operations"], "Upgrade")):
        came = shell.type(f"cd {ROOT} && {command.replace(' install ', f' install {OFFLINE} ')}")
        assert (came.code, shown) == (0, ""), came.out
    assert shell.type("cd / && batchgen --version") == (0, f"batchgen {__version__}\n")
    assert len(list(installed_package(shell).parent.glob("batchgen-*.dist-info"))) == 1


def test_uninstalling_takes_the_program_and_leaves_what_is_the_users(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "home")
    program = [".local/share/batchgen/bin/batchgen", ".local/bin/batchgen"]
    kept = [".local/state/batchgen/ledger.db", ".config/batchgen/key", "night/clips/night-shop/hero.mp4"]
    for name in [*program, *kept]:
        (shell.home / name).parent.mkdir(parents=True, exist_ok=True)
        (shell.home / name).write_text(name)
    for command, shown in typed(section(MANUAL["operations"], "Uninstall")):
        assert (shell.type(command), shown) == ((0, ""), "")
    assert [name for name in [*program, *kept] if (shell.home / name).exists()] == kept
    assert not (shell.home / ".local/share/batchgen").exists()


@contextmanager
def own_sandbox(desk: Desk, *options: str) -> Iterator[Path]:
    """The installed program's sandbox; gives its journal."""
    journal = desk.folder / "journal.jsonl"
    process = desk.start("sandbox", "--journal", str(journal), "--task-seconds", "0.05-0.1", *options)
    assert process.stdout is not None
    desk.env |= {"POWERTOKENS_API_BASE": process.stdout.readline().strip(), "POWERTOKENS_API_KEY": KEY}
    try:
        yield journal
    finally:
        process.terminate()
        desk.finish(process)


def test_the_installed_program_does_the_main_job_from_another_directory(shell: Shell, tmp_path: Path) -> None:
    desk = Desk(tmp_path, program=(str(shell.home / ".local/bin/batchgen"),))
    del desk.env["PYTHONPATH"]
    desk.write("m/inbox/a.png", make_png())
    desk.write("m/shots.csv", "id,image,prompt\nrow,https://example.com/1.png,Pan left\n")
    jobs = [{"folder": "inbox", "prompt": "{stem}"}, {"table": "shots.csv"}]
    desk.write(
        "m/night.yaml", json.dumps({"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": jobs})
    )
    quick = ("--poll-interval", "0.05", "--timeout", "5")

    with own_sandbox(desk, "--slots", "1") as journal:
        assert desk.run("validate", "m").code == 0
        assert [desk.run("run", *quick, "m") for _ in range(2)] == [Result(0, "", "")] * 2
        rows = desk.export()
        assert [row["state"] for row in rows] == ["downloaded"] * 2
        assert all(Path(row["video_path"]).is_relative_to(tmp_path) for row in rows)
        seen = summarize(load(journal))
        assert (seen["tasks"], seen["twice"], seen["max_running"]) == (2, [], 1)


def test_the_source_archive_makes_the_same_wheel(tmp_path: Path) -> None:
    """So that whoever packages it from the archive ships what was tested here."""
    build = [sys.executable, "-m", "hatchling", "build"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(
        [*build, "-d", tmp_path / "1", "-t", "sdist", "-t", "wheel"],
        cwd=ROOT,
        env=env,
        check=True,
        capture_output=True,
    )
    (archive,) = (tmp_path / "1").glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    subprocess.run(
        [*build, "-d", tmp_path / "2", "-t", "wheel"], cwd=source, env=env, check=True, capture_output=True
    )
    first, second = (next((tmp_path / folder).glob("*.whl")) for folder in ("1", "2"))
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as two:
        assert {info.filename: info.CRC for info in one.infolist()} == {
            info.filename: info.CRC for info in two.infolist()
        }
    assert {"tests", "manifests", "Makefile", "CHANGELOG.md"} <= {path.name for path in source.iterdir()}


# -- what it stands on -------------------------------------------------------------------------------------------------


def pinned() -> dict[str, tuple[str, list[str]]]:
    """What ``tests/constraints.txt`` holds: name -> version, and the hashes of its files."""
    text = (ROOT / "tests" / "constraints.txt").read_text("utf-8")
    assert "--index-url" not in text and "--find-links" not in text
    found = re.findall(r"^(\S+)==(\S+) \\\n((?:    --hash=\S+(?: \\)?\n)+)", text, re.M)
    assert len(found) == len(re.findall(r"^\w", text, re.M)), "a pin has no hash"
    return {
        canonicalize_name(name): (version, re.findall(r"--hash=sha256:([0-9a-f]{64})\b", hashes))
        for name, version, hashes in found
    }


def test_the_constraints_pin_every_dependency_by_hash_within_its_range() -> None:
    pins = pinned()
    for needed in map(Requirement, PROJECT["dependencies"]):
        version, hashes = pins[canonicalize_name(needed.name)]
        assert hashes and version in needed.specifier, needed
    assert all(hashes for _, hashes in pins.values())


def test_the_constraints_hold_for_the_oldest_python_which_needs_most() -> None:
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert (
        f"autogenerated by pip-compile with Python {oldest}\n" in (ROOT / "tests/constraints.txt").read_text()
    )


def test_every_floor_has_its_reason_beside_it_and_a_known_fault_is_below_it() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    lines = section_of_dependencies(text)
    bare = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if line.startswith('"') and "#" not in line and not before.startswith("#")
    ]
    assert bare == []
    ranges = {needed.name: needed.specifier for needed in map(Requirement, PROJECT["dependencies"])}
    known = {
        "aiohttp": "3.14.2",
        "idna": "3.14",
        "orjson": "3.11.5",
        "tqdm": "4.66.2",
        "jsonschema-rs": "0.48.9",
    }
    assert [name for name, bad in known.items() if bad in ranges[name]] == []


def section_of_dependencies(text: str) -> list[str]:
    found = re.search(r"^dependencies = \[\n(.*?)^\]$", text, re.M | re.S)
    assert found
    return [line.strip() for line in found[1].splitlines()]


def test_the_floors_are_what_make_floors_installs() -> None:
    lowest = dict(line.split("==") for line in floors())
    for needed in map(Requirement, PROJECT["dependencies"]):
        assert lowest[needed.name] in needed.specifier
    assert "python -m tests.floors > build/floors.txt" in (ROOT / "Makefile").read_text()
