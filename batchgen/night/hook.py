"""Runs the command of ``--on-finish``: the summary on its standard input, the main facts in its environment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

from batchgen.night import process
from batchgen.night.receivers import words_of
from batchgen.night.summary import Summary

#: What a hook doesn't inherit: the key in any form, other receivers, the secret of callbacks, and what is between this
#: process and systemd.
_KEPT_BACK: Final = ("POWERTOKENS_", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_")
_RECEIVERS: Final = ("BATCHGEN_PING_URL", "BATCHGEN_ON_FINISH", "BATCHGEN_NOTIFY", "BATCHGEN_CALLBACK_SECRET")


def stripped(environ: Mapping[str, str], holds_key: Callable[[str], bool]) -> dict[str, str]:
    """An environment without the key, and without what is meant for this process alone."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith((*_KEPT_BACK, *_RECEIVERS)) and not holds_key(value)
    }


def variables(summary: Summary) -> dict[str, str]:
    """The main facts of a run."""
    document = summary.document
    buckets: Mapping[str, int] = document.get("buckets", {})
    facts = {
        "RUN_ID": summary.run_id,
        "COMMAND": summary.command,
        "EXIT_CODE": summary.exit_code,
        "STATES": ",".join(sorted(summary.states)),
        "HEADLINE": summary.headline,
        "JOBS": sum(buckets.values()),
        "DONE": buckets.get("downloaded", 0),
        "CREATED": document.get("created", 0),
        "FAILED_TASKS": document.get("failed_tasks", 0),
        "COST_USD_ESTIMATE": document.get("cost_usd_estimate", 0),
        "STOPPED": ",".join(stop["kind"] for stop in document.get("stops", ())),
        "SECONDS": round(summary.ended - summary.began, 3),
    }
    return {f"BATCHGEN_{name}": str(value).replace("\0", "") for name, value in facts.items()}


def run(
    command: str, summary: Summary, environ: Mapping[str, str], *, seconds: float, stopped: Callable[[], bool]
) -> process.Ended:
    """Run the hook for at most ``seconds``; ``environ`` has no secrets. Raises ValueError where the command has no words."""
    data = json.dumps(summary.document, ensure_ascii=False).encode("utf-8", "backslashreplace")
    whole = {**environ, **variables(summary)}
    return process.run(words_of(command), data, whole, seconds=seconds, stopped=stopped)
