"""The API on this machine: it follows the specification, plays faults by name, and keeps a journal of the truth.

Imports nothing of the client, so that it reads the specification a second time. A task it makes costs nothing.
"""

from batchgen.sandbox.command import add_arguments, run
from batchgen.sandbox.config import Config
from batchgen.sandbox.faults import FAULTS, Fault, Moment, Rule, parse
from batchgen.sandbox.journal import Entry, Journal, load, summarize
from batchgen.sandbox.server import Sandbox

__all__ = [
    "FAULTS",
    "Config",
    "Entry",
    "Fault",
    "Journal",
    "Moment",
    "Rule",
    "Sandbox",
    "add_arguments",
    "load",
    "parse",
    "run",
    "summarize",
]
