"""A mistake of batchgen's own: one line to report, with its kind and place, and nothing of what it was about."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from pathlib import Path

import pytest

from batchgen.api.client import Api
from batchgen.cli import main
from batchgen.cli.output import Output
from batchgen.cli.report import run_text
from batchgen.ledger.writer import Ledger
from batchgen.manifest import reader
from batchgen.run.clock import Clock
from batchgen.run.events import Events
from batchgen.run.hints import Hints
from batchgen.run.inventory import Inventory
from batchgen.run.lanes import Lane
from batchgen.run.planning import planned
from batchgen.run.pool import Limits, Pool
from batchgen.run.runner import Runner
from batchgen.run.session import summary
from batchgen.run.tally import Tally
from batchgen.run.waits import Waits
from batchgen.sandbox.config import Config
from batchgen.sandbox.server import Sandbox
from batchgen.storage.download import Downloads
from tests.support.program import ENDS, KEY

SECRET = "s3cr3t"


def test_a_run_ends_with_its_summary_and_the_job_is_paid_once(tmp_path: Path) -> None:
    jobs = [{"id": "a", "image": "https://example.com/a.png", "prompt": "x", "model_name": "kling-v3"}]
    (tmp_path / "m.yaml").write_text(json.dumps({"version": 1, "jobs": jobs}))
    manifests, _ = reader.read([str(tmp_path / "m.yaml")])

    moments = iter([time.time()] * 2)  # of the look at the budgets, and of its create

    def broken() -> float:
        for moment in moments:
            return moment
        raise ZeroDivisionError(SECRET)

    async def scene() -> str:
        sandbox = Sandbox(Config(journal=str(tmp_path / "journal")))
        url = await sandbox.start()
        try:
            with Ledger.open(str(tmp_path / "ledger.db"), origin=url) as ledger:
                inventory, tally = Inventory(ledger, Events(time.time)), Tally()
                pool = Pool(Limits(), random.Random(1))
                pool.lanes.append(Lane("m"))
                async with Api(url, KEY, timeout=ENDS) as api, Downloads(timeout=ENDS) as downloads:
                    runner = Runner(inventory, api, downloads, pool, Waits(), tally, Clock(broken), Hints())
                    async with asyncio.timeout(ENDS):
                        await runner.run(list(planned(manifests, ledger)), ())
                return "\n".join(run_text(summary(0.0, tally, pool, runner.stops)))
        finally:
            await sandbox.stop()

    text = asyncio.run(scene())
    assert "0 of 1 job done; 1 created" in text
    assert "stopped: batchgen failed over a job; please report this line: batchgen " in text
    assert "  m/a: batchgen failed over it; please report this line: batchgen " in text
    assert "ZeroDivisionError at run/following.py:" in text
    assert SECRET not in text and "broken" not in text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError(SECRET), "it failed; please report this line: batchgen "),
        (MemoryError(SECRET), "it needs more memory than there is"),
    ],
)
def test_a_command_ends_with_one_line(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: argparse.Namespace, out: Output) -> int:
        raise error

    monkeypatch.setitem(main.COMMANDS, "status", fail)
    code = main.main(["status", "--json"])
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert code == found["exit_code"] == (2 if isinstance(error, MemoryError) else 1)
    assert said in told.err and said in found["error"]
    assert SECRET not in told.err + told.out and "Traceback" not in told.err
