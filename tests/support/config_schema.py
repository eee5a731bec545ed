"""The schema of the configuration file, as it follows from the options; ``make schema`` writes it.

What an option takes as text, its value is read from as on the command line; the schema is for editors, and for the
kind of value.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from batchgen.cli import arguments, options
from batchgen.cli.config import BELOW_MANIFESTS
from batchgen.cli.config_keys import Key, keys

FILE = Path(__file__).parents[2] / "schemas" / "config.schema.json"
WORDS = {"output_dir": "Where the clips of manifests go that name no folder of their own"}
WHOLE = (arguments.count, arguments.downloads, arguments.port)


def form(key: Key) -> dict[str, Any]:
    """What a value may be."""
    action = key.action
    if key.is_switch:
        return {"type": "boolean"}
    if key.is_list:
        return {"type": ["array", "string"], "items": {"type": "string"}}
    if action.choices:
        return {"type": "string", "enum": list(action.choices)}
    if action.type is arguments.clip_hosts:
        return {"type": ["string", "array"], "items": {"type": "string"}}
    if action.type in WHOLE:
        return {"type": "integer", "minimum": 1}
    return {"type": "string"} if action.type is None else {"type": ["string", "number"]}


def properties() -> dict[str, Any]:
    """All keys but the prices, which no option gives."""
    found: dict[str, Any] = {}
    parser = options.parser()
    for key in keys(parser.commands):
        if key.refused:
            continue
        *below, name = key.path
        words = WORDS.get(name, str(key.action.help) % vars(key.action))
        words += "; relative to this file" * key.is_path + "; a manifest's own is above it" * (
            name in BELOW_MANIFESTS
        )
        inner = found
        for command in below:
            text = f"Options of `batchgen {command}` alone."
            empty = {
                "description": text,
                "type": "object",
                "additionalProperties": False,
                "properties": {},
            }
            inner = found.setdefault(command, empty)["properties"]
        inner[name] = {"description": f"{words[0].upper()}{words[1:]}.", **form(key)}
    return found


def document() -> dict[str, Any]:
    """The whole schema: the file's own, with these keys in it."""
    there: dict[str, Any] = json.loads(FILE.read_text())
    prices = there["properties"]["prices"]
    return {**there, "properties": {"prices": prices, **properties()}}


if __name__ == "__main__":
    FILE.write_text(json.dumps(document(), indent=2, ensure_ascii=False) + "\n")
