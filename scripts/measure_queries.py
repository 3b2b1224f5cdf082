#!/usr/bin/env python3
"""Asks `weir up` and `weir serve` as fast as they answer, and measures how fresh their answers are; see bench_queries."""

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

ADS = 20_000
CLICKS = 1_000_000
SPAN_SECONDS = 7_000
FRESH_CLICKS = 200

WRK_RANDOM = """
local seed = %d
init = function(args) math.randomseed(seed + tonumber(tostring({}):sub(8), 16) %% 100000) end
request = function()
  return wrk.format("GET", string.format(%s, math.random(0, %d), math.random(%d, %d)))
end
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(command, folder, port):
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=open(f"{folder}/log", "a"))
    deadline = time.time() + 60
    while time.time() < deadline:
        try:
            if ask(port, "/readyz")[0] == 200:
                return process
        except OSError:
            pass
        if process.poll() is not None:
            sys.exit(f"{command} ended: {open(f'{folder}/log').read()[-2000:]}")
        time.sleep(0.1)
    sys.exit(f"{command} does not become ready")


def stop(process):
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def ask(port, target, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"content-type": "application/json"} if body else {}
    connection.request("POST" if body else "GET", target, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, text


def cpu_seconds(process):
    fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wrk(process, folder, name, port, seconds, target, script=None, connections=32):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    if script:
        path = f"{folder}/{name.split()[0]}.lua"
        open(path, "w").write(script)
        command += ["-s", path]
    before, began = cpu_seconds(process), time.time()
    out = subprocess.run([*command, f"http://127.0.0.1:{port}{target}"], capture_output=True, text=True, check=True).stdout
    cpu = (cpu_seconds(process) - before) / (time.time() - began)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    if errors:
        sys.exit(f"{name}: {errors[1]} answers were errors")
    quantile = lambda share: milliseconds(re.search(rf"\s{share}%\s+([\d.]+)(us|ms|s)", out))
    return {"what": name, "per_second": round(rate), "p50_ms": quantile(50), "p99_ms": quantile(99), "cores": round(cpu, 2)}


def milliseconds(match):
    return round(float(match[1]) * {"us": 0.001, "ms": 1, "s": 1000}[match[2]], 2)


def freshness(port, weir, folder, rate):
    """From the moment a click is answered until it is in an answer, while others are posted."""
    to = f"http://127.0.0.1:{port}"
    load = subprocess.Popen(
        [weir, "generate", "--to", to, "--clicks", str(rate * 60), "--rate", str(rate), "--ads", str(ADS), "--output", "json"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(5)
    due = time.time()

    def one(number):
        time.sleep(max(0, due + number * 0.15 - time.time()))
        now = int(time.time())
        ad = f"fresh-{number}"
        click = json.dumps({"ad_id": ad, "user_id": "u", "timestamp": now})
        status, text = ask(port, "/v1/clicks", click)
        assert status == 202, text
        began = time.time()
        while time.time() - began < 30:
            target = f"/v1/stats?ad_id={ad}&window=1m&start={now - 60}&end={now + 60}"
            if json.loads(ask(port, target)[1])["data"]:
                return time.time() - began
            time.sleep(0.02)
        return float("inf")

    with ThreadPoolExecutor(16) as pool:
        times = sorted(pool.map(one, range(FRESH_CLICKS)))
    load.kill()
    load.wait()
    at = lambda share: round(times[min(len(times) - 1, int(share * len(times)))] * 1000)
    return {"what": f"freshness at {rate} single clicks/s", "per_second": rate, "p50_ms": at(0.5), "p99_ms": at(0.99)}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("weir")
    arguments.add_argument("folder")
    arguments.add_argument("--seconds", type=int, default=10)
    arguments.add_argument("--rate", type=int, default=10_000)
    arguments.add_argument("--json")
    arguments.add_argument("--clickhouse", help="the URL of a server, to measure the warm tier")
    options = arguments.parse_args()
    folder, weir = options.folder, options.weir
    port, tables_port = free_port(), free_port()
    up = start([weir, "up", "--data", "data", "-D", f"ingest.listen=127.0.0.1:{port}", "-D", "tables.roll_interval=20s",
                "-D", "time.allowed_lateness=1m"], folder, port)
    subprocess.run([weir, "generate", "--to", f"http://127.0.0.1:{port}", "--clicks", str(CLICKS), "--ads", str(ADS),
                    "--events-per-second", str(CLICKS // SPAN_SECONDS), "--batch", "1000"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    now = int(time.time())
    hour = f"window=1m&start={now - 3600}&end={now}"
    # Another end is another question, though its windows may be the same: of many ends hardly an answer is kept.
    random_ad = lambda start, first_end, last_end: WRK_RANDOM % (
        7, json.dumps(f"/v1/stats?ad_id=ad-%08d&window=1m&start={start}&end=%d"), ADS - 1, first_end, last_end)
    time.sleep(3)
    rows = [
        wrk(up, folder, "hot, the same question", port, options.seconds, f"/v1/stats?ad_id=ad-00000000&{hour}"),
        wrk(up, folder, "hot, a random ad", port, options.seconds, "/", random_ad(now - 3600, now, now)),
        wrk(up, folder, "hot, the top list", port, options.seconds, "/v1/top?window=1m&limit=10"),
        freshness(port, weir, folder, options.rate),
    ]
    time.sleep(30)
    job = f"{folder}/job.toml"
    open(job, "w").write('[job]\nname = "clicks"\n[checkpoint]\nurl = "data/checkpoints/"\n[tables]\nurl = "data/tables/"\n')
    serve = start([weir, "serve", "job.toml", "-D", f"serve.listen=127.0.0.1:{tables_port}"], folder, tables_port)
    rows.append(wrk(serve, folder, "cold, a random ad", tables_port, options.seconds, "/", random_ad(now - 7000, now - 5000, now - 3400), connections=4))
    stop(serve)
    if options.clickhouse:
        open(job, "a").write(f'[clickhouse]\nurl = "{options.clickhouse}"\n[source]\nkind = "ndjson"\nurl = "data/log/"\n')
        stop(up)
        subprocess.run([weir, "clickhouse", "rebuild", "job.toml"], cwd=folder, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        serve = start([weir, "serve", "job.toml", "-D", f"serve.listen=127.0.0.1:{tables_port}"], folder, tables_port)
        tiers = json.loads(ask(tables_port, "/v1/status")[1])["tiers"]
        if tiers[1]["state"] != "ok":
            sys.exit(f"ClickHouse does not answer: {tiers}")
        rows.append(wrk(serve, folder, "warm, a random ad", tables_port, options.seconds, "/",
                        random_ad(now - 7000, now - 5000, now - 3400), connections=8))
        stop(serve)
    else:
        stop(up)
    print(f"{'question':<36} {'a second':>9} {'p50 ms':>8} {'p99 ms':>8} {'cores':>6}")
    for row in rows:
        print(f"{row['what']:<36} {row['per_second']:>9} {row['p50_ms']:>8} {row['p99_ms']:>8} {row.get('cores', ''):>6}")
    json.dump(rows, open(options.json, "w"), indent=1)


if __name__ == "__main__":
    main()
