"""A process that prepares pictures, or makes them small for the page, one after the other: what a file does to its decoder reaches nothing else.

An order is a line of JSON on its standard input, the answer one on its standard output. It ends where its input ends, so
it never outlives the run that it works for by more than one picture.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
from typing import Any, Final

import xxhash

from batchgen.errors import ImageError
from batchgen.images.inspection import opened
from batchgen.images.make import make
from batchgen.images.recipe import SOURCE_BYTES
from batchgen.images.thumbnail import thumbnail
from batchgen.models import Recipe, Within

MEMORY: Final = 2 << 30  # bytes of address space; a picture that takes more fails alone


def main() -> None:
    """Work off orders until there are no more."""
    _limit(resource.RLIMIT_AS, MEMORY)
    _limit(resource.RLIMIT_CORE, 0)
    with os.fdopen(0, "rb") as orders, os.fdopen(1, "wb") as answers:
        for line in orders:
            answers.write(json.dumps(answer(json.loads(line))).encode() + b"\n")
            answers.flush()


def _limit(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def answer(order: dict[str, Any]) -> dict[str, Any]:
    """Do what an order says: the digest and size of what was written to its ``to``, or an ``error`` in words.

    It has the ``recipe`` of a picture that is to be sent, or the ``side`` of a small one for the page.
    """
    try:
        made = (  # nothing holds the bytes besides who works on them
            make(_read(order), recipe_of(order["recipe"]))
            if "recipe" in order
            else thumbnail(_read(order), order["side"])
        )
    except (ImageError, MemoryError) as error:
        return {"error": str(error) or "it takes more memory than there is for it"}
    try:
        target = os.open(order["to"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(target, "wb") as written:
            written.write(made)
    except OSError as error:
        return {"error": f"the prepared picture can't be kept: {error.strerror}: {order['to']}"}
    return {"sha256": hashlib.sha256(made).hexdigest(), "size": len(made)}


def _read(order: dict[str, Any]) -> bytes:
    """The bytes that an order is about. Raises ImageError where they are others by now."""
    within = Within(*order["within"]) if order["within"] else None
    with opened(order["path"], within) as (file, status):
        if status.st_size != order["size"] or status.st_size > SOURCE_BYTES:
            raise ImageError("the file changed since it was checked")
        with os.fdopen(file, "rb", closefd=False) as source:
            data = source.read(status.st_size + 1)
    if _digest(data, order["digest"]) != order["digest"]:
        raise ImageError("the file changed since it was checked: its bytes are others")
    return data


def _digest(data: bytes, wanted: str) -> str:
    """The digest of a source, of the kind that was taken when it was checked."""
    return xxhash.xxh3_128_hexdigest(data) if len(wanted) == 32 else hashlib.sha256(data).hexdigest()


def recipe_of(fields: dict[str, Any]) -> Recipe:
    """A recipe from the JSON of its fields."""
    pairs = ("source", "inner", "canvas", "crop")
    sizes = {name: tuple(fields[name]) if fields[name] is not None else None for name in pairs}
    return Recipe(**{**fields, **sizes})


if __name__ == "__main__":
    main()
