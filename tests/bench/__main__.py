"""``make bench``: every row of the table, measured; see README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.bench.measure import ROOT, note, own_peak
from tests.bench.page import page
from tests.bench.rows import ROWS as OTHERS
from tests.bench.rows import Row, workplace

ROWS = {**OTHERS, "page": page}


def main() -> int:
    """Measure, print the table, write the JSON. Goals that aren't met are told, and are no failure of the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"only these: {', '.join(ROWS)}")
    parser.add_argument(
        "--repeat", type=int, default=5, metavar="N", help="repetitions, of which the median (default 5)"
    )
    parser.add_argument(
        "--json", type=Path, default=ROOT / "build" / "bench.json", metavar="FILE", help="where the JSON goes"
    )
    args = parser.parse_args()
    if unknown := set(args.rows) - ROWS.keys():
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    found: dict[str, Row] = {}
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    for name in args.rows or ROWS:
        note(f"{name} ...")
        with workplace(ROOT / "build" / "bench") as folder:
            found[name] = ROWS[name](folder, args.repeat)
        sys.stdout.write(shown(found[name]) + "\n")
        sys.stdout.flush()
    args.json.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine,
        "repetitions": args.repeat,
        "own_peak_mb": own_peak() / 1e6,
        "rows": {name: _as_json(row) for name, row in found.items()},
    }
    args.json.write_text(json.dumps(result, indent=1) + "\n")
    goals = [goal for row in found.values() for goal in row.goals]
    sys.stdout.write(f"{sum(goal.met for goal in goals)} of {len(goals)} goals met; {args.json}\n")
    return 0


def shown(row: Row) -> str:
    """A row as text: what was measured, then each goal with a mark where it isn't met."""
    lines = [f"== {row.title}"]
    for name, figures in row.figures.items():
        if name == "nights":
            lines += _nights(figures)
        elif isinstance(figures, dict):
            told = [
                f"{key.replace('_', ' ')} {value:,.3g}"
                for key, value in figures.items()
                if isinstance(value, float)
            ]
            lines.append(f"   {name:42} {', '.join(told)}")
    lines += [f"   {remark}" for remark in row.remarks]
    shown_goals = [goal for goal in row.goals if "nights" not in row.figures or not goal.met]
    for goal in shown_goals:
        least = "at least" if goal.least else "under" if goal.under else "at most"
        mark = "ok  " if goal.met else "MISS"
        lines.append(f"   {mark} {goal.what}: {goal.value:,.4g} {goal.unit} ({least} {goal.limit:,g})")
    return "\n".join(lines) + "\n"


def _nights(rows: list[dict[str, float | str | bool | None]]) -> list[str]:
    columns = f"{'slots':>5} {'lengths':11} {'limit':7} {'over bound':>10} {'goal':>5} {'over greedy':>11}"
    lines = [f"   {columns} {'queries':>7} {'refused':>7} {'lag':>7} {'least lag':>9}"]
    group = "alone"
    for row in rows:
        if row["group"] != group:
            group = str(row["group"])
            lines.append(f"   {group}:")
        limit = "" if row["goal"] is None else f"{row['goal']:.0%}"
        lines.append(
            f"   {row['slots']:>5} {row['lengths']:11} {'told' if row['told'] else 'learned':7}"
            f" {row['over_bound']:10.2%} {limit:>5} {row['over_greedy']:11.2%} {row['queries']:7.1f}"
            f" {row['refusals']:7.2%} {row['lag']:5.2f} s {row['least_lag']:7.2f} s"
        )
    return lines


def _as_json(row: Row) -> dict[str, object]:
    goals = [{**asdict(goal), "met": goal.met} for goal in row.goals]
    return {"title": row.title, "figures": row.figures, "goals": goals, "remarks": row.remarks}


if __name__ == "__main__":
    sys.exit(main())
