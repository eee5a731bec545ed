"""The least that anybody does with a table: csv reads the rows, json writes them. ``csv_json.py TABLE OUT``"""

from __future__ import annotations

import csv
import json
import sys

with open(sys.argv[1], newline="") as table:
    rows = list(csv.DictReader(table))
with open(sys.argv[2], "w") as out:
    for row in rows:
        out.write(json.dumps(row) + "\n")
