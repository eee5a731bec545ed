"""`schedule`: what it prints starts a night by a real cron and passes systemd's own check; what it installs it takes out again."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from batchgen.ledger import schedules
from batchgen.ledger.reader import Records
from batchgen.night import crontab
from batchgen.night.awake import awake
from tests.machine.test_runs import FAST, QUICK, urls
from tests.support.program import KEY, Desk, sandbox, until

SBIN = f"{os.environ['PATH']}:/usr/sbin:/sbin"
#: A crontab of cron's, for the tests of its text: a file; the program itself is tried below.
STAND_IN = """#!/bin/sh
case "$1" in
    -l) cat {file} 2> /dev/null || {{ echo "no crontab for $USER" >&2; exit 1; }} ;;
    -r) rm {file} ;;
    -) cat > {file} ;;
esac
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A machine with a key's file, a crontab and no systemd that answers."""
    desk = Desk(tmp_path)
    key = desk.write("home/key", KEY)
    key.chmod(0o600)
    desk.env["POWERTOKENS_API_KEY_FILE"] = str(key)
    desk.write("bin/crontab", STAND_IN.format(file=tmp_path / "crontab.txt")).chmod(0o755)
    desk.write("bin/systemctl", "#!/bin/sh\necho no bus >&2\nexit 1\n").chmod(0o755)
    desk.env["PATH"] = f"{tmp_path / 'bin'}:{desk.env['PATH']}"
    desk.write("m.yaml", urls(1))
    return desk


def ledger(desk: Desk) -> str:
    return str(desk.folder / "home/.local/state/batchgen/ledger.db")


# -- what is printed ---------------------------------------------------------------------------------------------------


def test_a_line_has_whole_paths_what_the_night_needs_and_never_the_key(desk: Desk) -> None:
    desk.write("a b/100%.yaml", urls(1))
    desk.env |= {
        "BATCHGEN_DOWNLOADS": "3",
        "BATCHGEN_PING_URL": "https://hc-ping.example/secret",
        "HTTPS_PROXY": "http://me:secret@proxy.example:3128",
        "BATCHGEN_ON_FINISH": "curl https://hooks.example/secret",
    }
    options = ("--max-cost=50", "-q", "--deadline", "06:00", "--only", "j*", "--log-file", "night.log")
    came = desk.run("schedule", "cron", "--delay", "0", *options, "a b/100%.yaml", "--until", "7:30")
    assert came.code == 0 and "secret" not in came.out and "HTTPS_PROXY holds a secret" in came.err
    assert "BATCHGEN_ON_FINISH holds a secret" in came.err
    (line,) = [line for line in came.out.splitlines() if not line.startswith("#")]
    words = f"run --max-cost 50 -q --deadline 06:00 --only 'j*' --log-file {desk.folder}/night.log --until 7:30 --stay-awake"
    assert line.startswith("30 22 * * * /usr/bin/env BATCHGEN_DOWNLOADS=3 POWERTOKENS_API_KEY_FILE=")
    assert f"batchgen run --ledger {ledger(desk)} {words.removeprefix('run ')}" in line
    assert line.endswith(f"'{desk.folder}/a b/100'\\%.yaml")
    assert not os.path.exists(ledger(desk)), "printing made a ledger"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("cron",), "name the manifests"),
        (("cron", "nowhere"), "isn't there: a night would find nothing"),
        (("cron", "--sandbox", "m.yaml"), "a rehearsal makes no clips"),
        (("cron", "-n", "m.yaml"), "it would create nothing"),
        (("cron", "--ping-url", "https://hc-ping.example/x", "m.yaml"), "its address is a secret"),
        (("cron", "--on-finish", "curl https://hooks.example/x", "m.yaml"), "its address is a secret"),
        (("cron", "--until", "2030-01-31T06:30", "m.yaml"), "is one night's"),
        (("cron", "--on-failure", "x.service", "m.yaml"), "is for systemd"),
        (("cron", "--at", "25:00", "m.yaml"), "is no time of day"),
        (("cron", "--name", "../x", "m.yaml"), "is no such name"),
        (("systemd", "--system", "--install", "m.yaml"), "are written by root"),
        (("systemd", "--credential", "none.cred", "m.yaml"), "a night would have no key"),
        (("cron", *(f"--only={'x' * 200}{n}" for n in range(5)), "m.yaml"), "cron takes commands of"),
    ],
    ids=lambda one: " ".join(one)[:30] if isinstance(one, tuple) else "",
)
def test_what_would_be_no_night_is_refused(desk: Desk, arguments: tuple[str, ...], why: str) -> None:
    came = desk.run("schedule", *arguments)
    assert came.code == 2 and why in came.err and came.out == ""


def test_the_nights_command_at_the_end_is_written_as_it_was_given_and_its_nights_are_recognised(
    desk: Desk,
) -> None:
    words = ("--delay", "0", "--on-finish", "touch 'a b'", "m.yaml")
    came = desk.run("schedule", "cron", "--install", *words)
    assert (
        came.code == 0 and "[hidden]" not in came.out and """--on-finish 'touch '"'"'a b'"'"''""" in came.out
    )
    with Records.read(ledger(desk)) as records:
        (one,) = schedules.schedules(records)
    recorded = ["run", "--ledger", ledger(desk), "--on-finish", "[hidden]", "--stay-awake"]
    assert list(one.arguments) == [*recorded, str(desk.folder / "m.yaml")], "no run would be its night"


def test_without_a_file_of_the_key_it_says_what_to_do(desk: Desk) -> None:
    del desk.env["POWERTOKENS_API_KEY_FILE"]
    desk.env["POWERTOKENS_API_KEY"] = KEY
    for kind in ("cron", "systemd"):
        came = desk.run("schedule", kind, "m.yaml")
        assert came.code == 2 and "let POWERTOKENS_API_KEY_FILE name that" in came.err


def test_a_delay_in_a_crontab_is_the_same_each_time_and_within_its_bounds(desk: Desk) -> None:
    found = {desk.run("schedule", "cron", "--at", "23:50", "--delay", "20m", "m.yaml").out for _ in range(2)}
    assert len(found) == 1
    minute, hour = map(int, re.findall(r"^(\d+) (\d+) \*", found.pop(), re.M)[0])
    assert 23 * 60 + 50 <= (hour or 24) * 60 + minute <= 24 * 60 + 10


# -- systemd -----------------------------------------------------------------------------------------------------------


def printed(desk: Desk, *options: str) -> dict[str, str]:
    """The units by their names."""
    came = desk.run("schedule", "systemd", "--json", *options, "m.yaml")
    assert came.code == 0, came.err
    return {os.path.basename(one["where"]): one["text"] for one in came.json["files"]}


@pytest.mark.parametrize("system", [True, False], ids=["system", "user"])
def test_units_pass_systemds_own_check(desk: Desk, system: bool) -> None:
    if (program := shutil.which("systemd-analyze", path=SBIN)) is None:
        pytest.skip("systemd-analyze isn't installed")
    desk.write("50% $a b.yaml", urls(1))
    desk.env["PATH"] = os.environ["PATH"]
    options = ["--deadline", "06:00", "--on-failure", "alarm.service", *(["--system"] if system else [])]
    folder = desk.folder / "units"
    for name, text in printed(desk, *options, "50% $a b.yaml").items():
        desk.write(f"units/{name}", text)
    desk.write("units/alarm.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
    paths = [str(path) for path in sorted(folder.iterdir())]
    command = [program, *([] if system else ["--user"]), "verify", *paths]
    env = {"PATH": SBIN, "XDG_RUNTIME_DIR": str(desk.folder), "HOME": desk.env["HOME"]}
    came = subprocess.run(
        command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert (came.returncode, came.stdout) == (0, "")
    broken = desk.write("units/batchgen.service", (folder / "batchgen.service").read_text() + "NoSuchKey=1\n")
    command = [program, *([] if system else ["--user"]), "verify", str(broken)]
    came = subprocess.run(
        command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert "NoSuchKey" in came.stdout, "the check checks nothing"


def test_the_systems_units_may_write_what_a_run_writes_and_have_the_key_as_a_credential(desk: Desk) -> None:
    desk.write("m.yaml", json.dumps({**json.loads(urls(1)), "output_dir": "out/clips"}))
    (desk.folder / "logs").mkdir()
    text = printed(desk, "--system", "--log-file", "logs/night.log")["batchgen.service"]
    writes = set(re.findall(r"^ReadWritePaths=-(.*)$", text, re.M))
    assert str(desk.folder) in writes  # for out/clips, which isn't there yet
    assert str(desk.folder / "logs") in writes
    assert str(desk.folder / "home") in writes  # for the ledger and the prepared pictures
    assert "ProtectSystem=strict\n" in text and "\nUser=" in text
    assert f"\nLoadCredential=powertokens_api_key:{desk.env['POWERTOKENS_API_KEY_FILE']}\n" in text
    assert "Environment=POWERTOKENS_API_KEY" not in text
    desk.write("key.cred", "encrypted")
    text = printed(desk, "--system", "--credential", "key.cred")["batchgen.service"]
    assert f"\nLoadCredentialEncrypted=powertokens_api_key:{desk.folder}/key.cred\n" in text
    timer = printed(desk, "--at", "5:07", "--delay", "90s")["batchgen.timer"]
    assert "\nOnCalendar=*-*-* 05:07:00\nRandomizedDelaySec=90s\nPersistent=true\n" in timer


def test_units_are_installed_once_and_removed_with_nothing_else(desk: Desk) -> None:
    folder = desk.folder / "home/.config/systemd/user"
    mine = desk.write("home/.config/systemd/user/mine.service", "[Service]\nExecStart=/bin/true\n")
    before = {path: path.read_bytes() for path in desk.folder.rglob("*") if path.is_file()}
    first = desk.run("schedule", "systemd", "--install", "--name", "night-shop", "m.yaml")
    assert first.code == 0 and f"written: {folder}/night-shop.service" in first.err
    assert "ExecStart=" in first.out and "systemd could not be told (no bus)" in first.err
    assert "systemctl --user start night-shop.timer" in first.err
    assert os.readlink(folder / "timers.target.wants/night-shop.timer") == str(folder / "night-shop.timer")
    times = [(path, path.stat().st_mtime_ns) for path in sorted(folder.glob("night-shop.*"))]
    again = desk.run("schedule", "systemd", "--install", "--name", "night-shop", "m.yaml")
    assert again.code == 0 and "it is there already" in again.err
    assert [(path, path.stat().st_mtime_ns) for path in sorted(folder.glob("night-shop.*"))] == times
    assert desk.run("schedule", "systemd", "--remove", "--name", "night-shop").code == 0
    after = {path: path.read_bytes() for path in desk.folder.rglob("*") if path.is_file()}
    assert {path: after[path] for path in after if "state" not in path.parts} == before
    assert not list((folder / "timers.target.wants").iterdir())
    refused = desk.run("schedule", "systemd", "--install", "--name", "mine", "m.yaml")
    assert refused.code == 2 and "is not of this program" in refused.err and mine.read_bytes() == before[mine]


# -- cron --------------------------------------------------------------------------------------------------------------


def test_a_crontab_is_written_once_and_what_is_removed_leaves_every_byte(desk: Desk) -> None:
    text = b"MAILTO=me@example.com\n# \xff mine\n0 5 * * * backup \\%d\n"
    file = desk.folder / "crontab.txt"
    file.write_bytes(text)
    for turn, said in enumerate(("written: crontab", "it is there already")):
        came = desk.run("schedule", "cron", "--install", "m.yaml")
        assert came.code == 0 and said in came.err, turn
    assert file.read_bytes().startswith(text) and file.read_bytes().decode("latin-1")[len(text) :] == came.out
    changed = desk.run("schedule", "cron", "--install", "--at", "3:00", "--delay", "0", "m.yaml")
    assert changed.code == 0 and file.read_bytes().count(b"batchgen run") == 1
    assert desk.run("schedule", "cron", "--remove").code == 0 and file.read_bytes() == text
    nothing = desk.run("schedule", "cron", "--remove")
    assert nothing.code == 0 and "there is no batchgen to be removed" in nothing.err
    file.unlink()
    assert desk.run("schedule", "cron", "--install", "m.yaml").code == 0 and file.exists()
    assert desk.run("schedule", "cron", "--remove").code == 0 and not file.exists()


def test_a_crontab_that_cannot_be_read_stays_as_it_is(desk: Desk) -> None:
    desk.write("bin/crontab", "#!/bin/sh\necho you are not allowed to use this program >&2\nexit 1\n").chmod(
        0o755
    )
    came = desk.run("schedule", "cron", "--install", "m.yaml")
    assert came.code == 2 and "stays as it is: you are not allowed" in came.err
    assert not os.path.exists(ledger(desk))
    desk.env["PATH"] = str(desk.folder / "nothing")
    assert (
        "install cron, or use `batchgen schedule systemd`"
        in desk.run("schedule", "cron", "--install", "m.yaml").err
    )


WORDS = [
    "",
    "a b",
    "it's",
    "100%",
    "%",
    "%%d",
    "$HOME",
    "`x`",
    '"',
    "\\",
    "a\\%b",
    "ä ö",
    "*",
    "~",
    "!x",
    "-n",
    "#",
]


def test_words_reach_the_command_as_they_are_by_a_cron_that_unescapes_and_one_that_does_not() -> None:
    line = crontab.line(22, 30, {"A": "x %"}, ["/usr/bin/printf", "%s\\n", *WORDS])
    assert line.startswith("30 22 * * * /usr/bin/env ")
    command = line.split(" ", 5)[5]
    for taken in (command, command.replace("\\%", "%")):
        came = subprocess.run(["/bin/sh", "-c", taken], text=True, capture_output=True, check=True)
        assert came.stdout == "".join(f"{word}\n" for word in WORDS)


NAMESPACE = ("unshare", "--mount", "--pid", "--fork", "--kill-child")  # whose programs end with it
#: A cron of its own: with another spool, in a night that begins two seconds from now.
OWN = """
set -e
mount --bind {spool} /var/spool/cron
mount -t tmpfs none /run
mount -t tmpfs none /etc/cron.d
printf '# mine\\n' | crontab -
{schedule} --install {options}
{schedule} --install {options}
LD_PRELOAD={faketime} FAKETIME='@2026-01-01 22:29:58' cron -f &
for turn in $(seq 300); do test -e {done} && break; sleep 0.1; done
{schedule} --remove
crontab -l
"""


def test_a_real_cron_starts_the_night(desk: Desk) -> None:
    missing = [name for name in ("cron", "crontab", "unshare") if not shutil.which(name, path=SBIN)]
    # Without the program `faketime`, whose shared memory is found by a process's number, which comes again in a namespace.
    faketime = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    missing += [] if faketime else ["faketime"]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if subprocess.run(
        [*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting in a namespace of its own, for a spool of its own, isn't allowed here")
    spool = desk.folder / "spool/crontabs"
    spool.mkdir(parents=True)
    shutil.chown(spool, group="crontab")
    spool.chmod(0o1730)
    desk.folder.chmod(0o755)
    desk.write(
        "bin/batchgen",
        f'#!/bin/sh\nPYTHONPATH={desk.env["PYTHONPATH"]} exec {sys.executable} -m batchgen "$@"\n',
    )
    (desk.folder / "bin/batchgen").chmod(0o755)
    (desk.folder / "bin/crontab").unlink()
    odd = desk.write("100% of it.yaml", urls(1))
    with sandbox(desk.folder, *FAST) as server:
        # Away from this process's environment, cron's shell has no PYTHONPATH: the program is a script that sets it.
        desk.env |= {"PATH": f"{desk.folder / 'bin'}:{SBIN}", "POWERTOKENS_API_BASE": server.url}
        done = desk.folder / "done.jsonl"
        words = ["cron", "--delay", "0", *QUICK, "--log-file", str(done), str(odd)]
        script = OWN.format(
            spool=spool.parent,
            faketime=faketime,
            schedule=f"{desk.folder / 'bin/batchgen'} schedule",
            options=" ".join(map(crontab.quoted, words)).replace("\\%", "%"),
            done=desk.folder / "ended",
        )
        script = script.replace("--remove", "cron --remove")
        watch = f"grep -q 'ended: exit code' {done} 2> /dev/null && touch {desk.folder / 'ended'}"
        script = script.replace("do test -e", f"do {watch}; test -e")
        came = subprocess.run(
            [*NAMESPACE, "sh", "-c", script],
            env=desk.env,
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert came.returncode == 0, came.stderr
        assert "written: crontab" in came.stderr and "it is there already" in came.stderr
        assert came.stdout.endswith("# mine\n")
        assert [row["state"] for row in desk.export()] == ["downloaded"], done.read_text()
        assert len(server.accepted()) == 1
    assert KEY not in came.stdout


# -- nights that were missed, and the next one -------------------------------------------------------------------------


def test_runs_shows_a_night_that_should_have_been_and_was_not(desk: Desk) -> None:
    assert desk.run("schedule", "cron", "--install", "--delay", "0", "m.yaml").code == 0
    assert desk.run("runs", "--json").json["missed"] == []
    with Records.read(ledger(desk)) as records:
        (one,) = schedules.schedules(records)
        due = schedules.next_run(records, time.time())
    assert due is not None and due[0] > time.time() and due[1] == one
    assert one.arguments[0] == "run" and one.arguments[-1] == str(desk.folder / "m.yaml")
    old = one._replace(name="older", since=time.time() - 3 * 86400)
    schedules.install(ledger(desk), old)
    missed = desk.run("runs", "--json").json["missed"]
    assert len(missed) in (2, 3) and {night["schedule"] for night in missed} == {"older"}
    text = desk.run("runs").out
    assert (
        text.count("missed  no run began; the schedule older (cron)") == len(missed) and "cron's log" in text
    )
    schedules.remove(ledger(desk), "older", one.host, time.time() - 2.5 * 86400)
    assert len(desk.run("runs", "--json").json["missed"]) <= 1
    assert desk.run("schedule", "cron", "--remove").code == 0
    with Records.read(ledger(desk)) as records:
        assert schedules.next_run(records, time.time()) is None
        assert [one.until is None for one in schedules.schedules(records)] == [False, False]


def test_a_night_that_was_there_is_not_missed_whoever_else_ran(desk: Desk) -> None:
    desk.env["POWERTOKENS_API_KEY"] = KEY
    with sandbox(desk.folder, *FAST) as server:
        desk.env["POWERTOKENS_API_BASE"] = server.url
        came = desk.run("schedule", "systemd", "--install", *QUICK, "m.yaml")
        assert came.code == 0
        with Records.read(ledger(desk)) as records:
            (one,) = schedules.schedules(records)
        now = time.localtime(time.time() - 3600)
        schedules.install(
            ledger(desk), one._replace(at=f"{now.tm_hour:02}:{now.tm_min:02}", since=time.time() - 7200)
        )
        night = schedules.missed
        assert desk.run("run", *QUICK, "m.yaml").code == 0  # somebody's own
        with Records.read(ledger(desk)) as records:
            assert len(night(records, 0.0, time.time())) == 1
        assert desk.run(*one.arguments).code == 0
        with Records.read(ledger(desk)) as records:
            assert night(records, 0.0, time.time()) == []


def test_a_note_that_is_no_list_of_schedules_is_said(desk: Desk) -> None:
    assert desk.run("schedule", "cron", "--install", "m.yaml").code == 0
    for bad in ("[]]", "{}", '[{"name": "x"}]', '[{"at": "99:99"}]'):
        with closing(sqlite3.connect(ledger(desk))) as connection, connection:
            connection.execute("UPDATE notes SET value = ? WHERE key = 'schedules'", (bad,))
        came = desk.run("runs")
        assert (came.code, "schedules" in came.err) == ((0, False) if bad == "{}" else (2, True)), bad


# -- staying awake -----------------------------------------------------------------------------------------------------

INHIBIT = """#!/bin/sh
while [ "${{1#--}}" != "$1" ]; do shift; done
env > {folder}/env
"$@"
echo released > {folder}/released
"""


def test_the_machine_stays_awake_until_the_run_ends_also_by_a_kill(desk: Desk) -> None:
    desk.write("bin/systemd-inhibit", INHIBIT.format(folder=desk.folder)).chmod(0o755)
    released = desk.folder / "released"
    desk.env["POWERTOKENS_API_KEY"] = KEY
    with sandbox(desk.folder, "--task-seconds", "60") as server:
        desk.env["POWERTOKENS_API_BASE"] = server.url
        process = desk.start("run", "--stay-awake", *QUICK, "m.yaml")
        until(lambda: len(server.accepted()) == 1)
        assert not released.exists() and KEY not in (desk.folder / "env").read_text()
        process.kill()
        process.communicate()
        until(released.exists)


def test_where_a_machine_cannot_be_kept_awake_the_night_goes_on(desk: Desk) -> None:
    desk.write("bin/systemd-inhibit", "#!/bin/sh\necho Access denied >&2\nexit 1\n").chmod(0o755)
    with awake(desk.env):
        pass
    with awake({"PATH": str(desk.folder / "nothing")}):
        pass
