#!/usr/bin/env python3
"""Prints what scripts/bench_ingest measured as a table, and writes it as JSON.

    bench_ingest_report.py FIGURES… --json FILE

clicks/s are those that were accepted. clicks/core-s are those for each second of the server's processor time, and `of
bare` compares them with the bare server's: both shared the machine with the generator, so only that is their own.
"""

import argparse
import json
from pathlib import Path

from bench_report import machine


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="+", type=Path)
    parser.add_argument("--json", required=True, type=Path)
    arguments = parser.parse_args()

    runs = [json.loads(path.read_text()) for path in arguments.figures]
    bare = {run["what"]: run["accepted_per_server_core"] for run in runs if run["log"] == "bare"}
    for run in runs:
        baseline, own = bare.get(run["what"]), run["accepted_per_server_core"]
        run["of_bare"] = round(own / baseline, 3) if baseline and own and run["log"] != "bare" else None

    print_table(runs)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=2) + "\n")
    print(f"\nwritten to {arguments.json}")


def print_table(runs):
    header = (
        "log", "what", "clicks/s", "clicks/core-s", "of bare", "p50 ms", "p99 ms", "max ms",
        "server CPU-s", "generator", "broker", "peak RSS", "",
    )  # fmt: skip
    rows = [header] + [row(run) for run in runs]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(header))]
    for cells in rows:
        names = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2])]
        numbers = [cell.rjust(width) for cell, width in zip(cells[2:-1], widths[2:-1])]
        print("  ".join(names + numbers + [cells[-1]]).rstrip())


def row(run):
    latency, broker = run["latency"], run["broker_cpu_seconds"]
    held = run["open_loop"] is None or run["open_loop"]["held"]
    return (
        run["log"],
        run["what"],
        f"{run['accepted_per_second']:,}",
        f"{run['accepted_per_server_core']:,}" if run["accepted_per_server_core"] else "",
        f"{run['of_bare']:.2f}" if run["of_bare"] else "",
        f"{latency['p50_ms']:.2f}",
        f"{latency['p99_ms']:.2f}",
        f"{latency['max_ms']:.2f}",
        f"{run['server_cpu_seconds']:.2f}",
        f"{run['generator_cpu_seconds']:.2f}",
        f"{broker:.2f}" if broker is not None else "",
        f"{run['peak_rss_mib']:,} MiB",
        "" if held else "rate not held",
    )


if __name__ == "__main__":
    main()
