"""``batchgen report``: one HTML page about the ledger and its clips, which opens from disk."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from batchgen import advice
from batchgen.amounts import dollars
from batchgen.cli import config, settings
from batchgen.cli.budget import machine_zone
from batchgen.cli.output import Output
from batchgen.disk import write_whole
from batchgen.errors import UsageError
from batchgen.ledger.reader import Records

if TYPE_CHECKING:
    from batchgen.page.render import Commands


def report(args: argparse.Namespace, out: Output) -> int:
    """Make the page and print its path. Returns the exit code. Raises UsageError and LedgerError."""
    from batchgen.page import file
    from batchgen.page.data import Account, by_kind, gather, iter_pictures
    from batchgen.page.links import relative_to
    from batchgen.page.pictures import Thumbnailer
    from batchgen.page.render import Commands, Files, render

    ledger = settings.ledger_path(args.ledger, os.environ)
    path = os.path.abspath(os.path.expanduser(args.output)) if args.output else file.default_path(ledger)
    path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    account = Account(config.prices(args), machine_zone(os.environ))
    with Records.read(ledger) as records:
        file.check(path)
        chosen, left_out = _chosen(args.only, records)
        page = gather(records, time.time(), chosen, account)
    folder = file.files_folder(path)
    link = relative_to(os.path.dirname(path))
    try:
        with _progress(out) as advance:
            made = Thumbnailer(folder).make_missing(iter_pictures(page.takes), advance=advance)
        text = render(
            page,
            Files(link, f"{link(folder)}/", made),
            commands=_commands(Commands(), ledger),
            mask=out.mask,
        )
        write_whole(path, text)
    except OSError as error:
        raise UsageError(
            f"the page {path} can't be written: {error.strerror or error}; name another file with --output"
        ) from error
    if args.json:
        out.document(
            {
                "exit_code": 0,
                "page": path,
                "files": folder if made.has else None,
                "bytes": len(text.encode()),
                "takes": len(page.takes),
                "kinds": by_kind(page.takes),
                "thumbnails": len(made.has),
                "left_out": left_out,
                "cost_usd_estimate": round(dollars(page.money.all.estimated), 4),
            }
        )
    elif not args.quiet:
        out.lines([path])
        if left_out:
            out.say(f"{left_out:,} others left out by --only")
    return 0


def _chosen(
    texts: Sequence[str] | None, ledger: Records
) -> tuple[frozenset[tuple[str, str, int]] | None, int]:
    """The keys of the takes that ``--only`` names, None for all, and how many others there are. Raises UsageError."""
    if not texts:
        return None, 0
    from batchgen.cli import only

    names = [*ledger.names()]
    chosen = only.chosen(texts, names, "no job in the ledger")
    return chosen, sum(name not in (chosen or ()) for name in names)


@contextlib.contextmanager
def _progress(out: Output) -> Iterator[Callable[[], object]]:
    """Show how many thumbnails were made inside of this, on a terminal: those of a first page take minutes."""
    if not out.shows_progress:
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(unit=" thumbnails", leave=False, delay=1.0) as bar:
        yield bar.update


def _commands(commands: Commands, ledger: str) -> Commands:
    """The commands with the ledger that they are about, where it isn't the one that they find by themselves."""
    if ledger == settings.ledger_path(
        None, {name: os.environ[name] for name in ("HOME", "XDG_STATE_HOME") if name in os.environ}
    ):
        return commands
    option = f" --ledger {advice.quoted(ledger)}"
    return commands._replace(**{name: f"{text}{option}" for name, text in commands._asdict().items()})
