"""What runs take from the configuration file, also those of other programs: the account's own prices."""

from __future__ import annotations

import os
from collections.abc import Mapping

from batchgen.manifest import configuration
from batchgen.manifest.configuration import Configuration
from batchgen.models import Problem
from batchgen.money.prices import BUILT_IN, Prices


def read_prices(environ: Mapping[str, str] = os.environ) -> Prices:
    """The prices of the configuration file, where it has any, else those that are built in: for ``RunOptions(prices=...)``.

    The command line takes its options from that file, too; a program has its own, and nothing else of it is used.
    Raises ManifestError with every problem of the file, by place, and UsageError where it can't be read.
    """
    found = configuration.read(environ)
    if found is not None:
        configuration.checked(found, found.problems(found.content) or price_faults(found))
    return prices(found)


def price_faults(found: Configuration) -> list[Problem]:
    """What is wrong with the prices of a file that the schema has no word against."""
    from batchgen.money.own_prices import faults

    given = found.content.get("prices")
    return [] if given is None else [found.problem(("prices", *at), text) for at, text in faults(given)]


def prices(found: Configuration | None) -> Prices:
    """The prices of a checked configuration, else those that are built in."""
    given = None if found is None else found.content.get("prices")
    if given is None:
        return BUILT_IN
    from batchgen.money.own_prices import own_prices

    return own_prices(given)
