"""The simulated nights as JSON, for the table: ``python -m tests.bench.nights``."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict

from tests.bench.simulate import LENGTHS, goal, least_lag, middle, nights

if __name__ == "__main__":
    for group, night in nights():
        one = middle(night)
        rng = random.Random(1)
        draw = LENGTHS[night.lengths]
        least = least_lag([draw(rng.random()) for _ in range(2000)], one.queries)
        row = {
            "group": group,
            **asdict(night),
            **asdict(one),
            "over_bound": one.over_bound,
            "over_greedy": one.over_greedy,
            "goal": goal(night),
            "least_lag": least,
        }
        sys.stdout.write(json.dumps(row).replace("Infinity", "null") + "\n")
        sys.stdout.flush()
