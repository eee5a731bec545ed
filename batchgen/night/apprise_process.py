"""The process that sends notifications: an order on standard input, a line for each URL on standard output."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading

from batchgen.night.redaction import Redaction

SAID = 300  # characters of what a service said


class _Said(logging.Handler):
    """Keeps what the library warns of, by the thread that it warns in."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: dict[int | None, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.texts[record.thread] = record.getMessage()


def main() -> None:
    """Send each notification in a thread; a slow service keeps none of the others waiting."""
    output = os.dup(1)
    with open(os.devnull, "w") as nothing:  # what plugins print isn't ours
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    import apprise

    said = _Said()
    logger = logging.getLogger("apprise")
    logger.addHandler(said)
    logger.propagate = False
    order = json.load(sys.stdin.buffer)

    def send(number: int, url: str) -> None:
        sender = apprise.Apprise.instantiate(url)
        if sender is None:
            service, ok, text = "notification", False, "it is no URL that Apprise knows"
        else:
            service = str(sender.service_name)
            ok = bool(sender.notify(title=order["title"], body=order["body"]))
            text = "taken" if ok else said.texts.get(threading.get_ident(), "it wasn't taken")
        text = Redaction()(" ".join(text.split()))
        os.write(output, json.dumps([number, service, ok, text[:SAID]]).encode() + b"\n")

    threads = [threading.Thread(target=send, args=one, daemon=True) for one in enumerate(order["urls"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
