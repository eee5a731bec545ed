"""Callbacks for ``run``, ``collect`` and ``listen``: where they are received, and the secret in their address."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchgen.cli.output import Output
from batchgen.errors import UsageError
from batchgen.ledger.writer import Ledger

if TYPE_CHECKING:
    import socket

    from batchgen.night.callbacks import Receiver, Verify
    from batchgen.run.hints import Hints

log = logging.getLogger("batchgen")

Address = tuple[str, int]

COME = "callbacks_come"  # a note: "yes" where a run has seen that they do


@dataclass(frozen=True, slots=True)
class Callbacks:
    """How a run is called: at ``public_url``. It listens at ``listen`` itself, or at ``link``, or somebody else does."""

    public_url: str
    listen: Address | None = None
    link: socket.socket | None = None
    signing: str | None = field(default=None, repr=False)
    verify: Verify | None = None


def signature(out: Output) -> tuple[str | None, Verify | None]:
    """The secret that callbacks are signed with, masked from here on, and what verifies them. Raises UsageError."""
    from batchgen.night.signatures import signing_secret, verifier

    signing = signing_secret(os.environ)
    if signing is None:
        return None, None
    out.mask.hide(signing.removeprefix("whsec_"))
    return signing, verifier(signing)


def callbacks_of(args: argparse.Namespace, api: str, out: Output) -> Callbacks | None:
    """How the run of a command line is called; None where it isn't. Raises UsageError."""
    if args.listen is not None and not args.public_url:
        raise UsageError("--listen needs --public-url: where the API reaches it, as https://HOST/PATH")
    if not args.public_url:
        return None
    from batchgen.night import public_url

    return Callbacks(public_url.checked(args.public_url, api), args.listen, None, *signature(out))


def rehearsed(args: argparse.Namespace, out: Output) -> Callbacks | None:
    """The same for a rehearsal, which is called on this machine alone, at a free port. Raises UsageError."""
    if args.listen is None and not args.public_url:
        return None
    from batchgen.night.callbacks import bound

    link = bound("127.0.0.1", 0)
    return Callbacks(f"http://127.0.0.1:{link.getsockname()[1]}", None, link, *signature(out))


def new_secret() -> str:
    """A secret for the address of a ledger's callbacks."""
    import secrets

    return secrets.token_urlsafe(32)


@asynccontextmanager
async def receiving(
    hints: Hints, callbacks: Callbacks | None, ledger: Ledger, out: Output
) -> AsyncIterator[None]:
    """Inside of this, callbacks become hints: this run's, where it is called, and those of a ``batchgen listen``."""
    from batchgen.night import hint_pipe

    def hear(names: tuple[str, ...], ended: bool) -> None:
        hints.hear(names, ended=ended)

    with hint_pipe.heard(ledger.path, hear) as piped:
        if callbacks is None:
            yield
            return
        from batchgen.night import public_url
        from batchgen.night.callbacks import Gate, Receiver

        secret = ledger.note(public_url.NOTE)
        if secret is None:
            secret = new_secret()
            await ledger.set_note(public_url.NOTE, secret)
        out.mask.hide(secret)
        hints.url = public_url.callback_url(callbacks.public_url, secret)
        hints.proven = before = ledger.note(COME) == "yes"
        receiver = Receiver(Gate(secret, callbacks.verify), hear)
        if (link := _link(callbacks, piped=piped)) is not None:
            await receiver.start(link)
        try:
            yield
        finally:
            await receiver.stop()
            report(receiver)
            if hints.proven is not before:
                await ledger.set_note(COME, "yes" if hints.proven else "no")


def _link(callbacks: Callbacks, *, piped: bool) -> socket.socket | None:
    """Where this run listens; None where it doesn't, or can't: calls are hints, and no night is given up for them."""
    from batchgen.night.callbacks import bound

    if callbacks.link is not None or callbacks.listen is None:
        return callbacks.link
    try:
        return bound(*callbacks.listen)
    except UsageError as error:
        level = logging.INFO if piped else logging.WARNING
        log.log(level, "%s; this run asks for its tasks as if none came", error)
        return None


def report(receiver: Receiver) -> None:
    """Say what came, at the end."""
    heard, refused, counts = receiver.heard, receiver.refused, receiver.counts
    if heard or refused:
        log.info(
            "callbacks: %s heard, %s refused", f"{heard:,}", f"{refused:,}", extra={"action": "callbacks"}
        )
    if counts[401] and not heard:
        log.warning(
            "%s callbacks came without the right signature, and none with it: is the configured secret the account's, and"
            " this machine's clock right?",
            f"{counts[401]:,}",
        )
