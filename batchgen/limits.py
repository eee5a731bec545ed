"""Limits on what is read from manifests and tables, and on what is shown of problems and jobs.

They are far beyond what a night needs; they keep a file from filling the machine's memory or its owner's mailbox. The
manual lists those that a person may meet.
"""

from __future__ import annotations

from typing import Final

# -- what is read ----------------------------------------------------------------------------------------------------

MANIFEST_BYTES: Final = 256 * 2**20
MANIFEST_VALUES: Final = 4_000_000  # of all kinds, keys not counted: more than 500,000 jobs of six fields
KEYS: Final = 10_000  # in one place
NESTING: Final = 100  # levels of a YAML document
GLOB_LENGTH: Final = 8_192  # characters of a match
FOLDERS: Final = 100  # inside of one another, below the folder of an entry

TABLE_BYTES: Final = 16 * 2**30  # a thousand rows of images as Base64, and more
TABLE_ROWS: Final = 2_000_000
COLUMNS: Final = 1_000
CELLS: Final = 100_000  # separators in a line of a table, those inside of quotes too
ROW_LENGTH: Final = 64 * 2**20  # characters: four images of 10 MB as Base64, and more

SIDECAR_BYTES: Final = 2**20

TAKE: Final = 1_000_000  # the largest take, as in the schema
NOTE: Final = 1_000  # characters of a person's note about a clip or an order

# -- what is shown ---------------------------------------------------------------------------------------------------

PROBLEMS: Final = 1_000  # of one manifest, after which the rest of it isn't looked at; of its warnings
PROBLEMS_SHOWN: Final = 2_000  # of all manifests of a command without -v; the same for its warnings
JOBS_SHOWN: Final = 2_000  # of one kind, in a plan or in the --json of a run, without -v
MESSAGE: Final = 1_000  # characters of one problem's text
EXCERPT: Final = 60  # characters of a value or a name in a message
