"""Baseline (d): a thread pool that keeps its state in one JSON file and rewrites it at every change.

``threads.py URL IN_FLIGHT TABLE STATE``
"""

from __future__ import annotations

import csv
import http.client
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

own = threading.local()


def main(url: str, in_flight: int, table: Path, state_file: Path) -> None:
    with open(table, newline="") as file:
        jobs = list(csv.DictReader(file))
    state: dict[str, dict[str, str]] = {job["id"]: {"status": "pending"} for job in jobs}
    lock = threading.Lock()

    def change(name: str, **values: str) -> None:
        with lock:
            state[name].update(values)
            state_file.write_text(json.dumps(state))

    def create(job: dict[str, str]) -> None:
        change(job["id"], status="submitting")
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection(urlsplit(url).netloc)
        body = json.dumps({**job, "model_name": "kling-v3", "mode": "pro"})
        headers = {"Authorization": "Bearer key", "Content-Type": "application/json"}
        own.connection.request("POST", "/kling/v1/videos/image2video", body, headers)
        answer = json.loads(own.connection.getresponse().read())
        change(job["id"], status="submitted", task_id=answer["data"]["task_id"])

    with ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(create, jobs))
    sys.stdout.write(f"{sum(job['status'] == 'submitted' for job in state.values())}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
