"""The quick lane starts nothing: no other program, and no connection to one."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from typing import NoReturn

import pytest


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    """A test that needs more belongs to another lane."""

    def refuse(*given: object, **named: object) -> NoReturn:
        raise AssertionError("a test in tests/unit starts a program or opens a connection")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", refuse)
        for name in ("connect", "connect_ex", "listen"):
            patch.setattr(socket.socket, name, refuse)
        yield
