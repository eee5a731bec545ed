"""``batchgen help``: the manual's pages, in the terminal."""

from __future__ import annotations

import argparse

from batchgen.cli.output import Output, folded
from batchgen.errors import UsageError
from batchgen.manual import pages, terminal
from batchgen.request import schema

WIDTH = max(map(len, pages.TOPICS))
MORE = "`batchgen help TOPIC` shows a page, `batchgen COMMAND --help` a command's options."


def help_(args: argparse.Namespace, out: Output) -> int:
    """Show a page of the manual, or a command's ``--help``; without a topic, list the pages. Raises UsageError."""
    if args.topic is None:
        every, file = list(map(pages.page, pages.TOPICS)), str(schema.path("manifest"))
        if args.json:
            listed = [{"topic": page.topic, "title": page.title} for page in every]
            out.document({"pages": listed, "schema": file})
        else:
            for page in every:
                out.lines(folded(f"{page.topic:{WIDTH}}  {page.title}", out.width, indent=WIDTH + 2))
            out.lines(
                ["", *folded(MORE, out.width, indent=0), f"The schema of manifests, for editors, is {file}"]
            )
        return 0
    topic = args.topic.casefold().removesuffix(".md")
    if topic in pages.TOPICS:
        page = pages.page(topic)
    elif topic in args.parsers:
        parser = args.parsers[topic]
        page = pages.Page(topic, parser.description, parser.format_help())
    else:
        near = pages.nearest(topic)
        hint = f"near it: {', '.join(near)}" if near else f"there are {', '.join(pages.TOPICS)}"
        raise UsageError(f"the manual has no page {args.topic!r}; {hint}")
    if args.json:
        out.document(page._asdict())
    elif out.width is None or topic not in pages.TOPICS:
        out.lines(page.text.splitlines())
    else:
        out.paged(terminal.shown(page.text, out.width))
    return 0
