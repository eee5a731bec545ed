"""The sandbox's controls while it runs, under ``/_sandbox/``; for this machine alone.

GET  /_sandbox/journal?after=N    the entries after number N, as a JSON array
GET  /_sandbox/stats              counts of the journal, and running, slots, held
POST /_sandbox/faults             {"add": ["reset_after=0.1"], "clear": true}: cleared first
POST /_sandbox/slots              {"slots": 3}, or null for no limit
POST /_sandbox/release            let stalled requests go on
POST /_sandbox/finish             end every running task now
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web

from batchgen.sandbox.faults import parse
from batchgen.sandbox.handlers import Api

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes(api: Api) -> list[web.RouteDef]:
    async def journal(request: web.Request) -> web.Response:
        after = int(request.query.get("after", "0"))
        return web.json_response([asdict(entry) for entry in api.journal.entries[after:]])

    async def stats(request: web.Request) -> web.Response:
        account = api.account
        now = {"running": account.running, "slots": account.slots, "held": api.held}
        return web.json_response(api.journal.summary() | now)

    async def change_faults(request: web.Request) -> web.Response:
        wanted = await _object(request)
        if wanted.get("clear"):
            api.dice.clear()
        for rule in wanted.get("add", ()):
            api.dice.add(parse(rule))
        return web.json_response({})

    async def slots(request: web.Request) -> web.Response:
        value = (await _object(request))["slots"]
        api.account.slots = None if value is None else int(value)
        return web.json_response({"slots": api.account.slots})

    async def release(request: web.Request) -> web.Response:
        return web.json_response({"released": api.release()})

    async def finish(request: web.Request) -> web.Response:
        return web.json_response({"finished": api.account.finish()})

    return [
        web.get("/_sandbox/journal", _guarded(journal)),
        web.get("/_sandbox/stats", _guarded(stats)),
        web.post("/_sandbox/faults", _guarded(change_faults)),
        web.post("/_sandbox/slots", _guarded(slots)),
        web.post("/_sandbox/release", _guarded(release)),
        web.post("/_sandbox/finish", _guarded(finish)),
    ]


def _guarded(handler: Handler) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        if not request.remote or not ipaddress.ip_address(request.remote).is_loopback:
            return web.json_response({"problem": "for this machine alone"}, status=403)
        if request.method == "POST" and request.content_type != "application/json":
            return web.json_response({"problem": "Content-Type must be application/json"}, status=415)
        try:
            return await handler(request)
        except (ValueError, TypeError, KeyError) as error:
            return web.json_response({"problem": str(error)}, status=400)

    return guarded


async def _object(request: web.Request) -> dict[str, Any]:
    value = json.loads(await request.read())
    if not isinstance(value, dict):
        raise TypeError("the body must be a JSON object")
    return value
