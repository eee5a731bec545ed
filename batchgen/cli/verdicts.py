"""What `doctor` finds: one verdict for each thing that it looks at, in bounded time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from batchgen.errors import BatchgenError
from batchgen.manifest.isolation import isolated


class Verdict(NamedTuple):
    """One verdict. ``bad`` keeps a night from going well; a ``note`` is worth knowing. ``facts`` are for scripts."""

    subject: str
    state: Literal["ok", "note", "bad"]
    text: str
    advice: str = ""
    facts: Mapping[str, Any] = MappingProxyType({})


#: Each check with the subject that its verdict has where it doesn't end, or fails.
Checks = Mapping[str, Callable[[], Iterable[Verdict]]]


def in_time(checks: Checks, seconds: float) -> list[Verdict]:
    """The verdicts of all checks, which are made at once and have so many seconds; in the order of the checks.

    One that isn't through then is left behind, in a thread that no exit waits for: a disk or a name server may never answer.
    """
    found: dict[str, list[Verdict]] = {subject: [] for subject in checks}

    def make(subject: str, check: Callable[[], Iterable[Verdict]]) -> None:
        def bad(text: str, advice: str = "") -> None:
            found[subject].append(Verdict(subject, "bad", text, advice))

        with isolated(bad):  # a fault of one check keeps no other from being told
            try:
                found[subject].extend(check())  # one after the other: the first ones may be all
            except BatchgenError as error:
                bad(str(error), error.advice)
            except OSError as error:
                bad(f"{error.filename or 'this machine'}: {error.strerror or error}")

    threads = [threading.Thread(target=make, args=pair, name=pair[0], daemon=True) for pair in checks.items()]
    for thread in threads:
        thread.start()
    ends = time.monotonic() + seconds
    late = Verdict("", "bad", f"no answer within {seconds:g} s")
    told: list[Verdict] = []
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
        told += found[thread.name]
        if thread.is_alive():
            told.append(late._replace(subject=thread.name))
    return told


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """1 where a verdict is bad, else 0."""
    return int(any(verdict.state == "bad" for verdict in verdicts))
