"""The manual's pages: one file each, in Markdown, beside this one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

#: The pages, in the order of a reader who begins. Each is TOPIC.md, and ``batchgen help TOPIC``.
TOPICS = (
    *("operations", "commands", "configuration", "manifest", "images", "identity", "clips"),
    *("ledger", "pacing", "callbacks", "prices", "money", "monitoring"),
    *("sandbox", "library", "security", "troubleshooting"),
)


class Page(NamedTuple):
    """One page: its topic, what its first line says it is about, and all of it in Markdown."""

    topic: str
    title: str
    text: str


def page(topic: str) -> Page:
    """The page of one of :data:`TOPICS`."""
    text = resources.files(__package__).joinpath(f"{topic}.md").read_text("utf-8")
    return Page(topic, text.partition("\n")[0].partition(": ")[2], text)


def nearest(word: str) -> Sequence[str]:
    """At most three topics that a word may mean: those with a similar name, else those whose pages have it most often."""
    import difflib

    if alike := difflib.get_close_matches(word.casefold(), TOPICS, 3):
        return alike
    counts = {topic: page(topic).text.casefold().count(word.casefold()) for topic in TOPICS}
    return sorted(filter(counts.get, counts), key=lambda topic: -counts[topic])[:3]
