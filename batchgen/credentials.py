"""The key: lent to the API's own origin and to nobody else, and masked in all that is heard."""

from __future__ import annotations

import re
from collections.abc import Mapping

from batchgen.addresses import origin_of

SHORTEST_KEY = 12  # characters
KEY_PREFIX = 8  # characters at its beginning that nobody needs to see


class Credentials:
    """The key of one API. ``base_url`` names the origin that it is for."""

    def __init__(self, base_url: str, key: str) -> None:
        self._origin = origin_of(base_url)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._echo, self._start = _echo(key), key[:KEY_PREFIX].encode()

    def headers(self, url: str) -> Mapping[str, str]:
        """What a request to this address may carry: nothing, unless scheme, host and port are the API's."""
        return self._headers if self._origin is not None and origin_of(url) == self._origin else {}

    def masked(self, said: bytes) -> bytes:
        """What a host says, without the key that it may repeat."""
        if self._echo is None or not (self._start in said or b"\\" in said or b"%" in said):
            return said  # spelt as it is, or not at all
        return self._echo.sub(b"[key]", said)


def _echo(key: str) -> re.Pattern[bytes] | None:
    """Finds the key, also as JSON, quotes and URLs spell it, or a word that begins as it does and may be cut off.

    None for what is too short to be a key (the sandbox's).
    """
    if len(key) < SHORTEST_KEY:
        return None
    letters = [rf"(?:\\?{re.escape(letter)}|(?:\\u00|%)(?i:{ord(letter):02x}))" for letter in key]
    return re.compile(f"{''.join(letters)}|{''.join(letters[:KEY_PREFIX])}[^\\s\"'<>]*".encode())
