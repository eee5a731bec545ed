"""A machine that fails: each time a clear message, an exit code, nothing paid twice, and the next run mends it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchgen.images import inspection
from batchgen.request.body import Body
from tests.support.pictures import make_large_png, make_png
from tests.support.program import Desk, Result, Server, sandbox, until

FAST = ("--task-seconds", "0.05-0.1")
QUICK = ("--poll-interval", "0.05", "--timeout", "1")
PYTHON = (sys.executable, "-m", "batchgen")


def manifest(*jobs: dict[str, str]) -> str:
    return json.dumps({"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": jobs})


def urls(count: int) -> str:
    return manifest(
        *[{"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": "x"} for n in range(count)]
    )


FOLDER = manifest({"folder": "in", "prompt": "x"})


def ledger(desk: Desk) -> Path:
    return desk.folder / "home/.local/state/batchgen/ledger.db"


def limited(kind: int, most: int) -> tuple[str, ...]:
    """The program with a limit of the system's, which it can't lift."""
    start = (
        "import os, resource, sys; kind, most = map(int, sys.argv[1:3]); resource.setrlimit(kind, (most, most));"
        " os.execv(sys.executable, [sys.executable, '-m', 'batchgen', *sys.argv[3:]])"
    )
    return (sys.executable, "-c", start, str(kind), str(most))


def in_a_shell(script: str) -> tuple[str, ...]:
    """The program as ``"$@"`` of a script."""
    return ("sh", "-c", script, "sh", *PYTHON)


def obeying_permissions() -> tuple[str, ...]:
    """The program without root's right to ignore them."""
    if os.geteuid() != 0:
        return PYTHON
    if not shutil.which("setpriv"):
        pytest.skip("root ignores permissions, and there is no setpriv to take that right away")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", *PYTHON)


@contextlib.contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before)


def mended(desk: Desk, server: Server, jobs: int, *paths: str) -> None:
    """A quiet run on a good machine does the rest, and the journal agrees that each was made once."""
    desk.program = PYTHON
    final = desk.run("run", *QUICK, *(paths or ("m.yaml",)))
    assert (final.code, final.out, final.err) == (0, "", "")
    rows = desk.export()
    assert [row["state"] for row in rows] == ["downloaded"] * jobs
    assert {row["task_id"]: row["external_task_id"] for row in rows} == server.accepted()
    assert server.summary()["twice"] == []
    files = [path for path in (desk.folder / "clips").rglob("*") if path.is_file()]
    clips = [path for path in files if path.name != "clips.jsonl"]
    assert sorted(row["video_path"] for row in rows) == sorted(map(str, clips))


# -- no room ------------------------------------------------------------------------------------------------


def test_a_disk_that_fills_up_while_the_ledger_is_written_ends_the_run_and_loses_nothing(desk: Desk) -> None:
    desk.write("m.yaml", urls(30))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server).program = limited(resource.RLIMIT_FSIZE, 150_000)
        result = desk.run("run", *QUICK, "m.yaml")
        assert result.code == 4
        assert "can't be written any more" in result.err and "run again" in result.err
        assert 0 < len(server.accepted()) < 30
        mended(desk, server, 30)


def test_a_disk_without_room_for_a_ledger_is_told_before_anything_is_sent(desk: Desk) -> None:
    desk.write("m.yaml", urls(2))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server).program = limited(resource.RLIMIT_FSIZE, 4096)
        result = desk.run("run", *QUICK, "m.yaml")
        assert result.code == 2
        assert str(ledger(desk)) in result.err
        assert server.entries() == []
        mended(desk, server, 2)


def test_a_disk_that_fills_up_during_a_download_gets_its_room_back(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, *FAST, "--fault", "video_endless=1") as server:
        desk.against(server).program = limited(resource.RLIMIT_FSIZE, 2_000_000)
        result = desk.run("run", *QUICK, "m.yaml")
        assert result.code == 1
        assert "paid" in result.err and "j0.mp4.part: File too large" in result.err
        assert list((desk.folder / "clips/m").iterdir()) == []
        server.ask("faults", {"clear": True})
        mended(desk, server, 1)


def test_without_descriptors_a_run_ends_and_says_so(desk: Desk) -> None:
    for number in range(10):
        desk.write(f"in/{number}.png", make_png(seed=number))
    desk.write("m.yaml", FOLDER)
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server).program = limited(resource.RLIMIT_NOFILE, 14)
        result = desk.run(
            "run", "--poll-interval", "0.05", "--timeout", "0.2", "--concurrency", "16", "m.yaml"
        )
        assert result.code in (2, 4)
        assert "Too many open files" in result.err or "unable to open" in result.err
        assert "Replace the image" not in result.err  # it is not the images' fault
        mended(desk, server, 10)


LATE_IMPORTS = """
import os, runpy, sys
begun = False
def watch(event, arguments):
    global begun
    begun = begun or event == "socket.connect"
    if begun and event == "import":
        os.write(2, f"loaded late: {arguments[0]}\\n".encode())
sys.addaudithook(watch)
runpy.run_module("batchgen", run_name="__main__", alter_sys=True)
"""


def test_a_run_has_loaded_what_it_works_with_before_its_first_request(desk: Desk) -> None:
    """Without a free descriptor no module can be loaded."""
    desk.write("in/0.png", make_png())
    desk.write("m.yaml", FOLDER)
    faults = [
        word for fault in ("rate_limited@1", "query_html@2", "video_500@1") for word in ("--fault", fault)
    ]
    with sandbox(desk.folder, *FAST, *faults) as server:
        desk.against(server).program = (sys.executable, "-c", LATE_IMPORTS)
        result = desk.run("run", *QUICK, "m.yaml")
        assert (result.code, result.err) == (0, "")
        assert {entry.kind for entry in server.entries()} >= {"create", "query", "video"}


def test_without_descriptors_no_image_is_to_blame(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(make_png())
    image = inspection.inspect(str(path))
    body = Body({"image": image})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.dup(0)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
    try:
        for step in (lambda: inspection.inspect(str(path)), lambda: list(body.pieces())):
            with pytest.raises(OSError, match="Too many open files"):
                step()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- no permission ------------------------------------------------------------------------------------------


def test_a_ledger_that_may_not_be_written_or_read_is_told_before_anything_is_sent(desk: Desk) -> None:
    desk.write("m.yaml", urls(2))
    state = desk.folder / "home/.local/state"
    state.mkdir(parents=True)
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server).program = obeying_permissions()
        with mode(state, 0o555):
            result = desk.run("run", *QUICK, "m.yaml")
        assert (result.code, server.entries()) == (2, [])
        assert "Permission denied" in result.err
        mended(desk, server, 2)
        requests = len(server.entries())
        desk.program = obeying_permissions()
        with mode(ledger(desk), 0o000):
            for command in ("run", "plan", "status"):
                result = desk.run(command, *(() if command == "status" else ("m.yaml",)))
                assert result.code == 2
                assert str(ledger(desk)) in result.err
        assert len(server.entries()) == requests


def test_an_output_folder_that_may_not_be_written_is_told_before_anything_is_paid(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    clips = desk.folder / "clips"
    clips.mkdir()
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server).program = obeying_permissions()
        with mode(clips, 0o555):
            result = desk.run("run", *QUICK, "m.yaml")
        assert result.code == 4
        assert f"{clips} can't be written: Permission denied" in result.err
        clips.rmdir()
        clips.write_text("")
        assert f"{clips} can't be written: a file is there" in desk.run("run", *QUICK, "m.yaml").err
        clips.unlink()
        assert server.accepted() == {}
        mended(desk, server, 1)


# -- the ledger ---------------------------------------------------------------------------------------------


def _half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _text(path: Path) -> None:
    path.write_bytes(b"no ledger\n" * 1000)


def _newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("harm", "says"),
    [(_half, "damaged"), (_empty, "damaged"), (_text, "not a ledger"), (_newer, "newer batchgen")],
)
def test_a_ledger_that_cannot_be_trusted_stops_everything_and_is_left_as_it_is(
    desk: Desk, harm: Callable[[Path], None], says: str
) -> None:
    desk.write("m.yaml", urls(2))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        harm(ledger(desk))
        harmed, requests = ledger(desk).read_bytes(), len(server.entries())
        for command in (("run", *QUICK, "m.yaml"), ("plan", "m.yaml"), ("status",)):
            result = desk.run(*command)
            assert result.code == 2
            assert says in result.err
        assert ledger(desk).read_bytes() == harmed
        assert len(server.entries()) == requests


def test_a_ledger_of_another_api_is_refused_before_anything_is_sent(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, *FAST) as first, sandbox(desk.folder, *FAST) as second:
        assert desk.against(first).run("run", *QUICK, "m.yaml").code == 0
        result = desk.against(second).run("run", *QUICK, "m.yaml")
        assert result.code == 2
        assert first.url in result.err and second.url in result.err
        assert second.entries() == []


def asked_for(server: Server) -> set[str | None]:
    """The tasks that were asked for: their ids are on disk."""
    return {entry.task_id for entry in server.entries() if entry.kind == "query"}


def _delete(path: Path) -> None:
    path.unlink()


def _delete_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def _replace(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copyfile(path, copy)
    copy.replace(path)


def _delete_wal(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


@pytest.mark.parametrize("harm", [_delete, _delete_folder, _replace, _delete_wal])
def test_a_ledger_taken_away_under_a_run_ends_it_and_pays_for_nothing_more(
    desk: Desk, harm: Callable[[Path], None]
) -> None:
    desk.write("m.yaml", urls(6))
    with sandbox(desk.folder, "--task-seconds", "60") as server:
        desk.against(server)
        process = desk.start("run", "--max-running", "2", *QUICK, "m.yaml")
        until(lambda: asked_for(server) >= {*server.accepted()} and len(server.accepted()) == 2)
        harm(ledger(desk))
        server.ask("finish", {})
        result = desk.finish(process)
        assert result.code == 4
        assert "replaced or removed" in result.err
        assert len(server.accepted()) == 2
        again = desk.start("run", *QUICK, "m.yaml")  # nothing that was paid is paid again, whatever it finds
        while again.poll() is None:
            server.ask("finish", {})
            time.sleep(0.1)
        assert "Traceback" not in desk.finish(again).err
        assert server.summary()["twice"] == []


# -- the clock ----------------------------------------------------------------------------------------------

YEAR = 365 * 86400.0


@pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=["back", "forward"])
def test_a_clock_that_has_jumped_since_the_last_run_delays_and_loses_nothing(desk: Desk, jump: float) -> None:
    desk.write("m.yaml", urls(3))
    with sandbox(desk.folder, *FAST, "--fault", "reset_after@2") as server:
        desk.against(server)
        process = desk.start("run", "--submit-only", *QUICK, "m.yaml")
        until(lambda: len(server.accepted()) == 3)
        process.kill()
        process.communicate()
        with contextlib.closing(sqlite3.connect(ledger(desk))) as connection:
            connection.execute(
                "UPDATE tasks SET created_at = created_at + ?1, submitted_at = submitted_at + ?1,"
                " finished_at = finished_at + ?1",
                (jump,),
            )
            connection.commit()
        mended(desk, server, 3)
        for row in desk.export():
            assert row["finished_at"] >= row["submitted_at"]
        assert desk.run("status", next(iter(server.accepted().values()))).code == 0


# -- files --------------------------------------------------------------------------------------------------


def _rewrite(path: Path) -> None:
    path.write_bytes(make_large_png(6_000_000, seed=9))


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _shrink(path: Path) -> None:
    os.truncate(path, 3_000_000)


@pytest.mark.parametrize("change", [_rewrite, _grow, _shrink])
def test_an_image_that_changes_while_it_is_sent_makes_no_task(
    desk: Desk, change: Callable[[Path], None]
) -> None:
    image = make_large_png(6_000_000)
    path = desk.write("in/a.png", image)
    desk.write("m.yaml", FOLDER)
    with sandbox(desk.folder, *FAST, "--fault", "stall_early@1") as server:
        desk.against(server)
        process = desk.start("run", "--poll-interval", "0.05", "m.yaml")
        until(lambda: server.ask("stats")["held"] == 1)
        change(path)
        server.ask("release", {})
        result = desk.finish(process)
        assert result.code == 1
        assert f"{path}: the file changed since it was checked" in result.err
        assert server.accepted() == {}
        path.write_bytes(image)
        mended(desk, server, 1)


@pytest.mark.parametrize(
    "change", [lambda path: path.unlink(), lambda path: os.replace(path, path.with_suffix(".old"))]
)
def test_an_image_that_is_moved_away_while_it_is_sent_is_sent_as_it_was(
    desk: Desk, change: Callable[[Path], None]
) -> None:
    path = desk.write("in/a.png", make_large_png(6_000_000))
    desk.write("m.yaml", FOLDER)
    with sandbox(desk.folder, *FAST, "--fault", "stall_early@1") as server:
        desk.against(server)
        process = desk.start("run", "--poll-interval", "0.05", "m.yaml")
        until(lambda: server.ask("stats")["held"] == 1)
        change(path)
        server.ask("release", {})
        assert desk.finish(process).code == 0
        assert len(server.accepted()) == 1


def test_what_is_no_file_fails_its_own_job_and_is_not_waited_for(desk: Desk) -> None:
    good = desk.write("in/good.png", make_png())
    os.mkfifo(desk.folder / "in/pipe.png")
    (desk.folder / "in/circle.png").symlink_to("circle.png")
    (desk.folder / "in/nowhere.png").symlink_to("nowhere")
    (desk.folder / "in/endless.png").symlink_to("/dev/zero")
    (desk.folder / "in/folder.png").mkdir()
    (desk.folder / "in/again").symlink_to(".")
    (desk.folder / "in/link.png").symlink_to(good)
    desk.write("m.yaml", manifest({"folder": "in", "match": "**/*.png", "prompt": "x"}))
    with sandbox(desk.folder, *FAST) as server:
        result = desk.against(server).run("run", *QUICK, "m.yaml")
        assert result.code == 1
        for text in (
            "a named pipe",
            "symbolic links",
            "no such file",
            "leads outside of the folder in (to /dev/zero)",
        ):
            assert text in result.err
        assert {row["job_id"] for row in desk.export()} == {"good", "link"}
        assert len(server.accepted()) == 2


def test_what_is_no_manifest_is_told_and_the_others_run(desk: Desk) -> None:
    desk.write("all/good.yaml", urls(1))
    os.mkfifo(desk.folder / "all/pipe.yaml")
    (desk.folder / "all/folder.yaml").mkdir()
    (desk.folder / "all/nowhere.yml").symlink_to("nowhere")
    os.mkfifo(desk.folder / "table.csv")
    desk.write("all/table.yaml", manifest({"table": "../table.csv"}))
    with sandbox(desk.folder, *FAST) as server:
        result = desk.against(server).run("run", *QUICK, "all")
        assert result.code == 2
        for name in ("all/pipe.yaml", "all/nowhere.yml", "table.csv"):
            assert name in result.err
        assert len(server.accepted()) == 1
    for path in ("/dev/zero", "/proc/self/mem", "table.csv", "home"):
        result = desk.run("validate", path)
        assert result.code == 2
        assert path in result.err


def test_a_link_out_of_the_output_folder_is_not_followed(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    (desk.folder / "outside").mkdir()
    (desk.folder / "clips").mkdir()
    (desk.folder / "clips/m").symlink_to("../outside")
    with sandbox(desk.folder, *FAST) as server:
        result = desk.against(server).run("run", *QUICK, "m.yaml")
        assert result.code == 4  # before anything is paid
        assert "through a symbolic link" in result.err
        assert not server.accepted()
        assert list((desk.folder / "outside").iterdir()) == []
        (desk.folder / "clips/m").unlink()
        mended(desk, server, 1)


def test_names_that_differ_in_case_alone_make_files_that_do_not(desk: Desk) -> None:
    for number, name in enumerate(("A", "a", "Ä", "ä")):
        desk.write(f"in/{name}.png", make_png(seed=number))
    desk.write("m.yaml", FOLDER)
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        mended(desk, server, 4)
        names = [Path(row["video_path"]).name for row in desk.export()]
        assert len({name.casefold() for name in names}) == 4


def test_fifty_thousand_files_in_a_folder_are_read_in_bounded_memory_and_time(desk: Desk) -> None:
    first = desk.write("in/0.png", make_png())
    for number in range(1, 50_000):
        os.link(first, desk.folder / f"in/{number}.png")
    desk.write("m.yaml", FOLDER)
    tell = "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0], file=sys.stderr)"
    desk.program = (sys.executable, "-c", f"import sys; from batchgen.cli.main import main; main(); {tell}")
    begun = time.monotonic()
    result = desk.run("validate", "m.yaml")
    took = time.monotonic() - begun
    assert result.out == "1 manifest, 50,000 jobs: no problems, 1 warning\n"
    warning, memory = result.err.splitlines()
    assert warning.endswith("(and 49,998 more like it)")  # one picture under 50,000 names
    assert int(memory) < 400_000  # kB
    assert took < 50


# -- names --------------------------------------------------------------------------------------------------

UNRULY = [
    b"not\xff\xfeutf8",
    b"new\nline",
    b"esc\x1b[31m\x07",
    "turn\u202ened".encode(),
    b"back\\slash",
    b"x" * 240,
]


@pytest.mark.parametrize("output", ["utf-8", "ascii"])
def test_any_name_can_be_told_on_any_terminal_and_in_json(desk: Desk, output: str) -> None:
    folder = os.fsencode(desk.folder / "in")
    os.mkdir(folder)
    for number, name in enumerate([*UNRULY, "café 日本".encode()]):
        Path(os.fsdecode(os.path.join(folder, name + b".png"))).write_bytes(make_png(seed=number))
    desk.write("m.yaml", FOLDER)
    desk.env["PYTHONIOENCODING"] = f"{output}:strict"

    def tame(result: Result) -> Result:
        assert not set(result.out + result.err) & {"\x1b", "\x07", "\u202e"}
        return result

    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        result = tame(desk.run("run", "-v", *QUICK, "--log-file", "log", "m.yaml"))
        assert result.code == 1
        assert "in/new\\u000aline.png" in result.err
        assert len(server.accepted()) == 2
        log = (desk.folder / "log").read_bytes().decode("utf-8")
        assert "café 日本" in log and "\x1b" not in log
        for line in ("status", "plan m.yaml", "validate m.yaml"):
            tame(desk.run(*line.split()))
        assert desk.run("export", "--format", "csv").code == 0
        assert len(desk.run("plan", "--json", "m.yaml").json["jobs"]) == 7  # JSON is UTF-8 everywhere
        assert {row["job_id"] for row in desk.export()} == {"café 日本", "turn\u202ened"}


def test_a_folder_whose_name_is_no_utf_8_is_as_good_as_another(desk: Desk) -> None:
    home = os.fsdecode(b"odd\xff")
    desk.write(f"{home}/m.yaml", urls(1))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        result = desk.run("run", "-v", *QUICK, "--log-file", "log", f"{home}/m.yaml")
        assert result.code == 0, result.err
        [row] = desk.export()
        assert Path(row["video_path"]).is_file()
        assert len(server.accepted()) == 1


# -- the surroundings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", ["<&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_streams_that_are_closed_or_full_keep_nothing_from_its_work(desk: Desk, streams: str) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server).program = in_a_shell(f'exec "$@" {streams}')
        result = desk.run("run", "-v", *QUICK, "m.yaml")
        assert (result.code, result.out) == (0, "")
        mended(desk, server, 1)
    desk.program = in_a_shell(f'exec "$@" {streams}')
    assert desk.run("validate", "nowhere.yaml").code == 2


@pytest.mark.parametrize("line", ["--help", "plan m.yaml", "plan --json m.yaml"])
def test_a_reader_that_is_gone_or_goes_is_no_error(desk: Desk, line: str) -> None:
    desk.write("m.yaml", urls(2000))
    for reader in ("true", "head -c 1 >&2"):
        desk.program = ("bash", "-c", f'"$@" | {reader}; exit "${{PIPESTATUS[0]}}"', "bash", *PYTHON)
        result = desk.run(*line.split())
        assert (result.code, len(result.err) <= 1) == (0, True), result.err


def test_a_reader_that_is_gone_changes_no_exit_code(desk: Desk) -> None:
    desk.write("m.yaml", urls(1).replace("kling-v3", "kling-v9"))
    desk.program = ("bash", "-c", '"$@" | true; exit "${PIPESTATUS[0]}"', "bash", *PYTHON)
    for line in ("validate --json m.yaml", "plan --json m.yaml", "validate --json nowhere.yaml"):
        assert desk.run(*line.split()).code == 2


def test_a_full_disk_behind_version_and_help_is_an_error_in_a_line(desk: Desk) -> None:
    desk.program = in_a_shell('exec "$@" >/dev/full')
    for option in ("--help", "--version"):
        result = desk.run(option)
        assert result.code == 2
        assert result.err == "batchgen: standard output can't be written: No space left on device\n"


@pytest.mark.parametrize(
    ("home", "says"),
    [("relative", "no home folder"), ("/dev/null", "Not a directory"), ("/proc/nowhere", "/proc/nowhere")],
)
def test_a_home_that_is_none_is_told_before_anything_is_sent(desk: Desk, home: str, says: str) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server).env["HOME"] = home
        result = desk.run("run", *QUICK, "m.yaml")
        assert result.code == 2
        assert says in result.err
        assert server.entries() == []


def test_without_home_the_ledger_can_still_be_named(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, *FAST) as server:
        del desk.against(server).env["HOME"]
        desk.env["BATCHGEN_LEDGER"] = str(desk.folder / "ledger.db")
        mended(desk, server, 1)


@pytest.mark.parametrize("line", ["run m.yaml", "plan m.yaml", "status", "collect"])
def test_a_current_folder_that_is_gone_is_told(desk: Desk, line: str) -> None:
    desk.env |= {"POWERTOKENS_API_KEY": "k", "BATCHGEN_LEDGER": "l.db"}
    desk.program = in_a_shell('mkdir gone && cd gone && rmdir ../gone && exec "$@"')
    result = desk.run(*line.split())
    assert result.code == 2
    assert "the current folder is gone" in result.err
