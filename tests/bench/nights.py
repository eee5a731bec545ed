"""The simulated nights as JSON, for the table: ``python -m tests.bench.nights REPETITIONS``."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict

from tests.bench.simulate import LENGTHS, SEEN_BEFORE, goal, least_lag, median, nights, seeds

if __name__ == "__main__":
    for group, night in nights():
        played = seeds(night, int(sys.argv[1]))
        one = median(night, played)
        rng = random.Random(1)
        draw = LENGTHS[night.lengths]
        least = least_lag([draw(rng) for _ in range(10 * SEEN_BEFORE)], one.queries)
        row = {
            "group": group,
            **asdict(night),
            **asdict(one),
            "over_bound": one.over_bound,
            "over_greedy": one.over_greedy,
            "goal": goal(night),
            "least_lag": least,
            "seeds": played,
        }
        sys.stdout.write(json.dumps(row).replace("Infinity", "null") + "\n")
        sys.stdout.flush()
