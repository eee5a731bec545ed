"""Baseline (b): what one types in a shell: a file of request bodies, and curl for each of them, so many at a time.

``shell.py xargs|parallel URL IN_FLIGHT TABLE FOLDER``. Writing the bodies counts, as it must be done.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

COMMANDS = {
    "xargs": "xargs -P {in_flight} -I {{}} {curl} < bodies > answers",
    "parallel": "parallel --will-cite -q -j {in_flight} {curl} < bodies > answers",
}
CURL = "curl -sS -H 'Content-Type: application/json' -H 'Authorization: Bearer key' --data @{{}} {url}/kling/v1/videos/image2video"


def main(tool: str, url: str, in_flight: int, table: Path, folder: Path) -> None:
    names = []
    with open(table, newline="") as file:
        for job in csv.DictReader(file):
            names.append(f"{job['id']}.json")
            (folder / names[-1]).write_text(json.dumps({**job, "model_name": "kling-v3", "mode": "pro"}))
    (folder / "bodies").write_text("".join(f"{name}\n" for name in names))
    command = COMMANDS[tool].format(in_flight=in_flight, curl=CURL.format(url=url))
    subprocess.run(command, shell=True, cwd=folder, check=True)
    sys.stdout.write(f"{(folder / 'answers').read_text().count('task_id')}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))
