"""``batchgen help``: the manual's pages, in the terminal."""

from __future__ import annotations

import argparse

from batchgen.cli.output import Output
from batchgen.errors import UsageError
from batchgen.manual import pages, terminal

WIDTH = max(map(len, pages.TOPICS))
MORE = "`batchgen help TOPIC` shows a page, `batchgen help COMMAND` a command's options."


def help_(args: argparse.Namespace, out: Output) -> int:
    """The command. A name that is no page's but a command's gets what ``--help`` says of that."""
    if args.topic is None:
        every = list(map(pages.page, pages.TOPICS))
        if args.json:
            out.document({"pages": [{"topic": page.topic, "title": page.title} for page in every]})
        else:
            out.lines([*(f"{page.topic:{WIDTH}}  {page.title}" for page in every), "", MORE])
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
