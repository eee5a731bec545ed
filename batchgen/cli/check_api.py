"""What `doctor` says of the key, the way to the API, and the clock."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from batchgen.advice import quoted
from batchgen.api import keys
from batchgen.api.client import Api, Probe
from batchgen.cli import core_dumps
from batchgen.cli.verdicts import Verdict
from batchgen.errors import ADVICE, PAGE, AccountStop, BatchgenError, NeverSent, UsageError
from batchgen.http import transport
from batchgen.http.endpoint import origin
from batchgen.masking import Mask
from batchgen.run.waits import shown_duration

WITHIN = 4.0  # seconds for the API's answer; as many for a name, and for the key's command
OFF = 60.0  # seconds from which on a clock is wrong; from a tenth of it on, that is said
NO_KEY = "no-key"  # is sent where there is none, to see whether the API is there


def check_api(
    base_url: str, mask: Mask, environ: Mapping[str, str], now: Callable[[], float], within: float = WITHIN
) -> Iterator[Verdict]:
    """The key, the API and the clock: what the API says of one query, which costs nothing."""
    core_dumps.keep_out_of_core_dumps()
    key = NO_KEY
    try:
        key = keys.api_key(environ, command_seconds=within)
        mask.learn(key)
        of_key = _key(environ)
    except UsageError as error:
        of_key = Verdict("key", "bad", str(error), error.advice)
    try:
        api = origin(base_url)
        _resolve(api, within)
        probe = asyncio.run(_probed(api, key, now, within))
    except BatchgenError as error:
        yield of_key
        yield Verdict("api", "bad", f"the API can't be reached: {error}", error.advice)
        return
    refused = probe.refusal
    about_key = refused is not None and refused.kind in ("key", "clock")
    if refused is not None and about_key and key != NO_KEY:
        text = f"{of_key.text}, and the API doesn't take it: {refused}"
        of_key = Verdict("key", "bad", text, refused.advice, of_key.facts)
    yield of_key
    text = f"{api} answers after {probe.seconds * 1000:.0f} ms, {way(api)}"
    facts = {"origin": api, "seconds": round(probe.seconds, 3)}
    if refused is None or about_key:
        yield Verdict("api", "ok", text, "", facts)
    else:
        stops = isinstance(refused, AccountStop) or refused.kind == PAGE
        yield Verdict("api", "bad" if stops else "note", f"{text}: {refused}", refused.advice, facts)
    yield _clock(probe.ahead)


async def _probed(api: str, key: str, now: Callable[[], float], within: float) -> Probe:
    async with Api(api, key, timeout=within, now=now) as client:
        return await client.probe()


def _resolve(api: str, within: float) -> None:
    """Look the name up that is connected to, in a thread that no exit waits for. Raises NeverSent, and UsageError."""
    proxy = transport.route(api)["proxy"]
    host = proxy.host if proxy is not None else urlsplit(api).hostname
    found: list[str] = []

    def look() -> None:
        try:
            socket.getaddrinfo(host, None)
            found.append("")
        except OSError as error:
            found.append(error.strerror or "it is not known")

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(within)
    if found != [""]:
        why = found[0] if found else f"no name server answers within {within:g} s"
        raise NeverSent(f"the name {host} can't be looked up: {why}")


def way(api: str) -> str:
    """How it is reached: with TLS or not, through which proxy; a proxy's password is in no route."""
    proxy = transport.route(api)["proxy"]
    secure = "over TLS" if api.startswith("https:") else "without TLS on this machine"
    return f"{secure}, {'directly' if proxy is None else f'through the proxy {proxy}'}"


def _key(environ: Mapping[str, str]) -> Verdict:
    """How the key was found, and who else can read its file. The key itself is in no verdict."""
    name, file = keys.source(environ)
    facts = {"source": name}
    if not file:
        return Verdict("key", "ok", f"it is taken from {name}", "", facts)
    text = keys.named_file(file, name) if file != name else f"systemd's credential {name}"
    try:
        status = os.stat(os.path.expanduser(file))
    except OSError:
        return Verdict("key", "ok", text, "", facts)
    mode = stat.S_IMODE(status.st_mode)
    text = f"{text} has the mode {mode:03o}"
    closing = f"chmod 600 {quoted(os.path.expanduser(file))}"
    facts |= {"mode": f"{mode:03o}"}
    if not stat.S_ISREG(status.st_mode):
        return Verdict("key", "ok", text, "", facts)
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        return Verdict("key", "bad", f"{text}: every user of this machine can read it", closing, facts)
    if mode & (stat.S_IRGRP | stat.S_IWGRP) and file != name:
        return Verdict("key", "note", f"{text}: its group can read it", closing, facts)
    return Verdict("key", "ok", text, "", facts)


def _clock(ahead: float | None) -> Verdict:
    if ahead is None:
        return Verdict("clock", "note", "the API's answer has no date to compare this machine's clock with")
    facts = {"behind_seconds": round(ahead, 1)}
    if abs(ahead) < OFF / 10:
        return Verdict("clock", "ok", "it agrees with the API's", "", facts)
    text = f"it is {shown_duration(abs(ahead))} {'behind' if ahead > 0 else 'ahead of'} the API's"
    return Verdict("clock", "bad" if abs(ahead) >= OFF else "note", text, ADVICE["clock"], facts)
