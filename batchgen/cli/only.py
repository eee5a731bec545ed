"""``--only``: the jobs that a command is about, of all that its manifests or the ledger have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from batchgen.cli.job_names import Name, match, near
from batchgen.errors import UsageError
from batchgen.models import Manifest

Key = tuple[str, str, int]


def chosen(texts: Sequence[str] | None, names: Iterable[Key], where: str) -> frozenset[Key] | None:
    """The keys that any of ``texts`` means: names, ends of names, globs, with ``@2`` for a take; None without ``texts``.

    Raises UsageError for a text that means none of them; ``where`` says in it whose jobs they are.
    """
    if not texts:
        return None
    listed = [Name(*name) for name in names]
    found: set[Key] = set()
    for text in texts:
        matched = match(text, listed).names
        if not matched:
            likely = near(text, listed)
            message = f"--only: {where} goes by {text!r}"
            raise UsageError(
                "\n".join(
                    [f"{message}; near it:", *(f"  {name}" for name in likely)] if likely else [message]
                )
            )
        found.update(matched)
    return frozenset(found)


def of_manifests(texts: Sequence[str] | None, manifests: Sequence[Manifest]) -> frozenset[Key] | None:
    """The keys of the manifests' jobs that ``texts`` mean, those that are refused or skipped included."""
    return chosen(texts, keys_of(manifests), "no job of these manifests")


def keys_of(manifests: Iterable[Manifest], *, skipped: bool = True) -> Iterator[Key]:
    """The keys of all jobs of manifests."""
    for one in manifests:
        yield from (job.key for job in one.jobs)
        yield from (bad.key for bad in one.unusable)
        yield from one.skipped if skipped else ()


def left_out(chosen: frozenset[Key] | None, manifests: Iterable[Manifest]) -> int:
    """How many jobs of manifests, without those that they skip themselves, were not chosen."""
    return 0 if chosen is None else sum(key not in chosen for key in keys_of(manifests, skipped=False))


def text(count: int, word: str = "job") -> str:
    """How many were left out, in words."""
    return f"{count:,} {word}{'' if count == 1 else 's'} left out by --only"
