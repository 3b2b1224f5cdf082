#!/usr/bin/env python3
"""Prints what scripts/bench measured as a table, and writes it as JSON.

    bench_report.py FIGURES… --json FILE

clicks/s counts from the start of the process to its end, when everything is committed. `reading` leaves the last
commit out: it ends when the last record is read, as far as the job's metrics tell, which they do once a second.
"""

import argparse
import json
import os
import platform
from pathlib import Path

# Clicks a second that a job must count on two cores.
TARGET = 1_200_000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="+", type=Path)
    parser.add_argument("--json", required=True, type=Path)
    arguments = parser.parse_args()

    runs = [json.loads(path.read_text()) for path in arguments.figures]
    baselines = {run["source"]: rate(run) for run in runs if run["what"] == "baseline"}
    for run in runs:
        run["clicks_per_second"] = round(rate(run))
        run["cpu_us_per_click"] = round(run["cpu_seconds"] * 1e6 / run["records"], 3)
        run["of_baseline"] = round(rate(run) / baselines[run["source"]], 3) if run["source"] in baselines else None
        run["of_target"] = None if run["what"] == "baseline" else round(rate(run) / TARGET, 3)

    print_table(runs)
    result = {"target_clicks_per_second": TARGET, "machine": machine(), "runs": runs}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nwritten to {arguments.json}")


def rate(run):
    return run["records"] / run["seconds"]


def machine():
    models = [line.split(":")[1].strip() for line in cpu_lines() if line.startswith("model name")]
    return {"cpus": os.cpu_count(), "model": models[0] if models else platform.processor(), "kernel": platform.release()}


def cpu_lines():
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def print_table(runs):
    header = ("source", "what", "clicks/s", "reading", "CPU-us/click", "peak RSS", "of baseline", "of target")
    rows = [header] + [
        (
            run["source"],
            run["what"],
            f"{run['clicks_per_second']:,}",
            f"{run['records'] / run['reading_seconds']:,.0f}" if run["reading_seconds"] else "",
            f"{run['cpu_us_per_click']:.2f}",
            f"{run['peak_rss_mib']:,} MiB",
            f"{run['of_baseline']:.2f}" if run["of_baseline"] else "",
            f"{run['of_target']:.2f}" if run["of_target"] is not None else "",
        )
        for run in runs
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        names = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2])]
        numbers = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:])]
        print("  ".join(names + numbers).rstrip())


if __name__ == "__main__":
    main()
