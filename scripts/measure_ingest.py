#!/usr/bin/env python3
"""Runs `weir generate --to http://…` and notes what it reports, and the processor time and memory of the server and the
broker meanwhile, as a JSON object.

    measure_ingest.py --log L --what W --server PID [--broker PID] [--share SHARE FIGURES] --into FILE -- COMMAND…

With --share the command gets a rate: that share of the clicks a second in the figures of an earlier run.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def main():
    arguments = parse_arguments()
    command = [part for part in arguments.command if part != "--"] + ["--output", "json"]
    if arguments.share:
        share, figures = arguments.share
        highest = json.loads(Path(figures).read_text())["clicks_per_second"]
        command += ["--rate", str(round(float(share) * highest))]

    forget_peak(arguments.server)
    before = [cpu_seconds(pid) for pid in (arguments.server, arguments.broker)]
    generated = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if generated.returncode != 0:
        sys.exit(f"error: {command[0]} ended with {generated.returncode}\n{generated.stdout.decode()}")
    server, broker = (
        now - then for now, then in zip((cpu_seconds(pid) for pid in (arguments.server, arguments.broker)), before)
    )
    report = json.loads(generated.stdout)
    seconds = report["measured"]["seconds"]
    figures = {
        "log": arguments.log,
        "what": arguments.what,
        "accepted": report["accepted"],
        "seconds": round(seconds, 3),
        "clicks_per_second": round(report["measured"]["clicks_per_second"]),
        "accepted_per_second": round(report["accepted"] / seconds),
        "accepted_per_server_core": round(report["accepted"] / server) if server > 0 else None,
        "server_cpu_seconds": round(server, 2),
        "generator_cpu_seconds": round(report["cpu_seconds"], 2),
        "broker_cpu_seconds": round(broker, 2) if arguments.broker else None,
        "latency": report["latency"],
        "open_loop": report["open_loop"],
        "answers": report["answers"],
        "peak_rss_mib": peak_rss_mib(arguments.server),
    }
    arguments.into.write_text(json.dumps(figures) + "\n")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", required=True)
    parser.add_argument("--what", required=True)
    parser.add_argument("--server", required=True, type=int)
    parser.add_argument("--broker", type=int)
    parser.add_argument("--share", nargs=2)
    parser.add_argument("--into", required=True, type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    return parser.parse_args()


def cpu_seconds(pid):
    """User and system time of a process; none without one."""
    if pid is None:
        return 0.0
    # The command's name may have spaces in it.
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def forget_peak(pid):
    """Has the kernel take the process's present memory for its peak."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_rss_mib(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) // 1024


if __name__ == "__main__":
    main()
