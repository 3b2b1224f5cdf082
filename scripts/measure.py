#!/usr/bin/env python3
"""Runs a command and notes how long it took, its processor time and its largest resident set, as a JSON object.

    measure.py --source S --what W --records N --into FILE [--metrics-port PORT [--stop-when-read]] COMMAND…

With a metrics port the command is a job that serves `weir_read_total` there, and the time at which it had read all records
is noted too. With --stop-when-read it is then asked to stop, which makes it commit everything.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

SAMPLE_SECONDS = 0.05
READ_TOTAL = re.compile(rb"^weir_read_total(?:\{[^}]*\})? (\d+)", re.MULTILINE)


def main():
    arguments = parse_arguments()
    started = time.monotonic()
    process = subprocess.Popen(arguments.command)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())

    reading_seconds = None
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if reading_seconds is None and has_read(arguments.metrics_port, arguments.records):
            reading_seconds = time.monotonic() - started
            if arguments.stop_when_read:
                process.terminate()
        time.sleep(SAMPLE_SECONDS)
    seconds = time.monotonic() - started

    exit_code = os.waitstatus_to_exitcode(status)
    if exit_code != 0:
        sys.exit(f"error: {arguments.command[0]} ended with {exit_code}")
    figures = {
        "source": arguments.source,
        "what": arguments.what,
        "records": arguments.records,
        "seconds": round(seconds, 3),
        "reading_seconds": reading_seconds and round(reading_seconds, 3),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_rss_mib": usage.ru_maxrss // 1024,
    }
    arguments.into.write_text(json.dumps(figures) + "\n")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", required=True)
    parser.add_argument("--what", required=True)
    parser.add_argument("--records", required=True, type=int)
    parser.add_argument("--into", required=True, type=Path)
    parser.add_argument("--metrics-port", type=int)
    parser.add_argument("--stop-when-read", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    return parser.parse_args()


def has_read(port, records):
    """Whether the job has read so many records; no while it cannot be asked."""
    if port is None:
        return False
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1) as answer:
            found = READ_TOTAL.search(answer.read())
    except OSError:
        return False
    return found is not None and int(found.group(1)) >= records


if __name__ == "__main__":
    main()
