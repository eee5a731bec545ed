"""Every command as a process of its own, by its exit code: it says what the same call says within the tests' process."""

from __future__ import annotations

import fcntl
import json
import re
from contextlib import ExitStack
from pathlib import Path

from batchgen.cli.main import COMMANDS
from tests.support import in_process
from tests.support.pictures import make_png
from tests.support.program import ENDS, Desk, Result, sandbox

QUICK = ("--poll-interval", "0.05", "--timeout", "2", "--settle", "0.5")
STEPS = [
    ("--version", 0),
    ("--no-such-option", 2),
    ("init in", 0),
    ("init in", 2),
    ("validate m.yaml", 0),
    ("validate bad.yaml", 2),
    ("plan --json m.yaml", 0),
    ("run --max-jobs 1 m.yaml", 4),
    ("run m.yaml", 0),
    ("run --json changed.yaml", 5),
    ("run small.yaml", 1),
    ("status b", 0),
    ("export", 0),
    ("resolve b --abandon", 2),
    ("report -o page.html", 0),
    ("retake b", 0),
    ("retake --withdraw b", 0),
    ("collect --json", 0),
    ("recover --json m.yaml", 0),
    ("ledger compact", 0),
    ("budget set --month 100 --timezone UTC", 0),
    ("budget", 0),
    ("spend", 0),
    ("runs", 0),
    ("why b", 0),
    ("verify", 0),
    ("doctor m.yaml", 0),
    ("notify", 0),
    ("schedule cron m.yaml", 2),
    ("completion bash", 0),
    ("help ledger", 0),
    ("run poor.yaml", 3),
    ("collect --lock-wait 0", 75),
]
WITH_API = ("run", "collect", "recover")


def manifest(*ids: str, name: str = "m", **fields: object) -> str:
    jobs = [{"id": one, "image": f"https://example.com/{one}.png", "prompt": one} | fields for one in ids]
    defaults = {"model_name": "kling-v3"}
    return json.dumps({"version": 1, "name": name, "defaults": defaults, "jobs": jobs})


def night(folder: Path, *, as_process: bool) -> list[Result]:
    """All steps, one after the other."""
    desk = Desk(folder)
    desk.write("m.yaml", manifest("a", "b"))
    desk.write("changed.yaml", manifest("a", "b", mode="pro"))
    desk.write("bad.yaml", manifest("a", promt="typo"))
    desk.write("in/p.png", make_png())
    desk.write("small.png", make_png(100, 100))
    desk.write("small.yaml", manifest("t", name="small", image="small.png"))
    desk.write("poor.yaml", manifest("p", name="poor"))
    came = []
    with sandbox(folder, "--task-seconds", "0") as server, ExitStack() as stack:
        desk.against(server)
        for line, code in STEPS:
            if code == 3:
                server.ask("faults", {"add": ["balance=1"]})
            elif code == 75:
                (lock,) = folder.rglob("ledger.db.lock")
                fcntl.flock(stack.enter_context(lock.open("rb+")), fcntl.LOCK_EX)
            words = line.split()
            words[1:1] = QUICK if words[0] in WITH_API else ()
            if as_process:
                one = desk.finish(desk.start(*words))
            else:
                one = Result(*in_process.call(words, cwd=folder, env=desk.env, ends=ENDS))
            came.append(
                Result(one.code, alike(one.out, folder, server.url), alike(one.err, folder, server.url))
            )
    return came


def alike(text: str, folder: Path, url: str) -> str:
    """Without what differs between two nights."""
    return re.sub(
        r"\b[0-9a-f]{8}(?:-[0-9a-f]+){4}\b|\b[0-9a-f]{32,}\b|\d+",
        "0",
        text.replace(str(folder), "FOLDER").replace(url, "URL"),
    )


def test_a_process_says_and_means_what_a_call_does(tmp_path: Path) -> None:
    for name in ("process", "call"):
        (tmp_path / name).mkdir()
    processes = night(tmp_path / "process", as_process=True)
    assert [one.code for one in processes] == [code for _, code in STEPS]
    assert processes == night(tmp_path / "call", as_process=False)
    assert {line.split()[0] for line, _ in STEPS} >= COMMANDS.keys() - {"sandbox", "review", "listen"}
