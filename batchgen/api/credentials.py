"""The key: lent to the API's own origin and to nobody else, and cut out of what is heard and refused in what is sent."""

from __future__ import annotations

from collections.abc import Mapping

from batchgen.http.addresses import origin_of
from batchgen.masking import SHORTEST_KEY, Mask


class Credentials:
    """The key of one API. ``base_url`` names the origin that it is for."""

    def __init__(self, base_url: str, key: str) -> None:
        self._origin = origin_of(base_url)
        self._headers = {"Authorization": f"Bearer {key}"}
        self.mask = Mask(key)
        self._secret = key.encode() if len(key) >= SHORTEST_KEY else b""

    def headers(self, url: str) -> Mapping[str, str]:
        """What a request to this address may carry: nothing, unless scheme, host and port are the API's."""
        return self._headers if self._origin is not None and origin_of(url) == self._origin else {}

    @property
    def secret(self) -> bytes:
        """What no file that is sent may hold; empty where the key is too short to be told from a word."""
        return self._secret

    def masked(self, said: bytes) -> bytes:
        """What a host says, read as UTF-8, without the key that it may repeat; bytes that are no UTF-8 stay."""
        text = said.decode("utf-8", "surrogateescape")
        return said if (heard := self.mask(text)) is text else heard.encode("utf-8", "surrogateescape")
