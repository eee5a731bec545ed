"""Puts the shells' completions and the man page, which are made from the parser, into the wheel. Not in it itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: Where shells and `man` look, below the place that the program is installed to.
PLACES = {
    "bash": "share/bash-completion/completions/batchgen",
    "zsh": "share/zsh/site-functions/_batchgen",
    "fish": "share/fish/vendor_completions.d/batchgen.fish",
}


class Hook(BuildHookInterface[Any]):
    """Runs before a wheel is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the files, and say where they belong. An editable installation has none: there `completion` makes them."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from batchgen.cli import shells

        folder = Path(self.directory) / "completions"
        folder.mkdir(parents=True, exist_ok=True)
        for shell, place in PLACES.items():
            made = folder / shell
            made.write_text(shells.completion(shell), "utf-8")
            build_data["shared_data"][str(made)] = place
            build_data["force_include"][str(made)] = f"batchgen/completions/{shell}"
        page = folder / "batchgen.1"
        page.write_text(shells.man_page(), "utf-8")
        build_data["shared_data"][str(page)] = "share/man/man1/batchgen.1"
