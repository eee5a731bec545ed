"""The API key: which requests may carry it, and how it is kept out of everything else.

It is sent to the API's own origin alone, masked in what hosts answer, and looked for in files before they are sent.
"""

from __future__ import annotations

from collections.abc import Mapping

from batchgen.http.addresses import origin_of
from batchgen.masking import SHORTEST_KEY, Mask


class Credentials:
    """The key of one API. ``base_url`` has the origin that the key may be sent to."""

    def __init__(self, base_url: str, key: str) -> None:
        self._origin = origin_of(base_url)
        self._headers = {"Authorization": f"Bearer {key}"}
        self.mask = Mask(key)
        self._secret = key.encode() if len(key) >= SHORTEST_KEY else b""

    def headers(self, url: str) -> Mapping[str, str]:
        """The headers with the key for a request to ``url``: none, unless its scheme, host and port are the API's."""
        return self._headers if self._origin is not None and origin_of(url) == self._origin else {}

    @property
    def secret(self) -> bytes:
        """The bytes that no file that is sent may hold; empty where the key is too short to be distinguished from a word."""
        return self._secret

    def masked(self, answer: bytes) -> bytes:
        """An answer, read as UTF-8, with the key masked where the host repeats it; bytes that aren't UTF-8 stay."""
        text = answer.decode("utf-8", "surrogateescape")
        return answer if (masked := self.mask(text)) is text else masked.encode("utf-8", "surrogateescape")
