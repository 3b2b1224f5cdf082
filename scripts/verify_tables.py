#!/usr/bin/env python3
"""Reads a job's Delta tables with engines that are not ours and compares them with an oracle.

    scripts/verify_tables.py ROOT --oracle FILE [--unfinished]

ROOT is the job's `tables.url`: a folder, file:///… or s3://… (credentials from the usual AWS_* variables). FILE is what
`weir generate --oracle` wrote: a line of totals, then a line for each ad and window. Of a window with late clicks the
oracle knows the clicks that are certain, and how many may come on top: a job that had not closed the window counts them.

    _delta_log ─▶ delta-rs ─▶ the files that count, and their partitions
                                 ├─▶ pyarrow (through delta-rs) ─┐
                                 └─▶ DuckDB (the same files)     ├─▶ each must equal the oracle
                                       oracle ───────────────────┘

Every window's count must be exact, and no window may be missing, unknown or there twice. Estimates of distinct users
must lie where such an estimate can lie. Files must be sorted, zstd-compressed and say in their footers where they come
from; what is not in the log must not be visible. Any difference is printed, and the exit code is 1.
"""

import argparse
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlparse

import deltalake
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.json as pajson
import pyarrow.parquet as pq

# One standard error of a DataSketches HLL sketch with 4096 buckets.
STANDARD_ERROR = 0.0163
# Of thousands of estimates some lie beyond three standard errors, but few, and none beyond six.
OUTLIERS_ALLOWED = 0.01

WINDOW_LENGTH_US = {"1m": 60_000_000, "5m": 300_000_000, "1h": 3_600_000_000}
TIME_TYPE = pa.timestamp("us", tz="UTC")
AGG_COLUMNS = {
    "ad_id": pa.string(),
    "window_start": TIME_TYPE,
    "window_end": TIME_TYPE,
    "click_count": pa.int64(),
    "unique_users": pa.int64(),
    "user_sketch": pa.binary(),
    "region": pa.string(),
    "epoch": pa.int64(),
    "window": pa.string(),
    "date": pa.date32(),
}
FOOTER_KEYS = (b"weir.epoch", b"weir.offsets", b"weir.version")


def main():
    arguments = parse_arguments()
    totals, oracle = read_oracle(arguments.oracle)
    findings = Findings()

    with tempfile.TemporaryDirectory(prefix="weir-verify-") as folder:
        root = Root(arguments.root, Path(folder))
        agg = Table(root, "clicks_agg", findings)
        if not agg.exists:
            sys.exit(f"error: there is no Delta table at {agg.location}")
        check_columns(agg, findings)
        check_files(agg, "window_start", findings)
        unfinished = arguments.unfinished
        check_windows("pyarrow", agg.rows_by_pyarrow(), oracle, findings, unfinished)
        counted = check_windows("duckdb", agg.rows_by_duckdb(), oracle, findings, unfinished)

        # What was counted beyond the certain clicks came late, but not too late.
        late = Table(root, "clicks_late", findings)
        check_clicks(late, totals["counted"] + totals["late"] + totals["future"] - counted, findings, unfinished)
        raw = Table(root, "clicks_raw", findings)
        if raw.exists:
            check_clicks(raw, totals["read"] - totals["rejected"], findings, unfinished)

        for table in (agg, late, raw):
            print(table.summary())
    findings.report()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", help="the job's tables.url")
    parser.add_argument("--oracle", required=True, type=Path, help="the file that `weir generate --oracle` wrote")
    parser.add_argument(
        "--unfinished",
        action="store_true",
        help="the job has not ended: windows that are still open, and rows that wait for a file, may be missing",
    )
    return parser.parse_args()


class Findings:
    """What is wrong, with a few examples each."""

    def __init__(self):
        self.messages = []

    def add(self, message, examples=()):
        lines = "".join(f"\n    {example}" for example in list(examples)[:10])
        self.messages.append(message + lines)

    def report(self):
        for message in self.messages:
            print(f"WRONG: {message}")
        if self.messages:
            sys.exit(1)
        print("the tables equal the oracle, by pyarrow and by duckdb")


# ---------------------------------------------------------------------------------------------------------- reading


ORACLE_SCHEMA = pa.schema(
    {
        "window": pa.string(),
        "ad_id": pa.string(),
        "start_ms": pa.int64(),
        "clicks": pa.int64(),
        "users": pa.int64(),
        "late": pa.int64(),
    }
)


def read_oracle(path):
    """The totals, and the windows as a table."""
    with path.open("rb") as lines:
        totals = json.loads(lines.readline())["totals"]
        rest = lines.read()
    if not rest.strip():
        sys.exit(f"error: {path} has no windows")
    options = pajson.ParseOptions(explicit_schema=ORACLE_SCHEMA, unexpected_field_behavior="ignore")
    return totals, pajson.read_json(io.BytesIO(rest), parse_options=options)


class Root:
    """Where the tables are: one file system for pyarrow, and local paths for DuckDB."""

    def __init__(self, location, scratch):
        self.location = location.rstrip("/")
        self.scratch = scratch
        parsed = urlparse(self.location)
        if parsed.scheme == "s3":
            endpoint = os.environ.get("AWS_ENDPOINT_URL")
            self.file_system = pafs.S3FileSystem(
                region=os.environ.get("AWS_REGION"),
                **({"endpoint_override": endpoint} if endpoint else {}),
            )
            self.base = f"{parsed.netloc}{parsed.path}"
        elif parsed.scheme in ("", "file"):
            self.file_system = pafs.LocalFileSystem()
            self.base = os.path.abspath(parsed.path)
            self.location = self.base
        else:
            sys.exit(f"error: cannot read {parsed.scheme}:// tables; give a folder, file:/// or s3://")
        self.is_local = parsed.scheme != "s3"

    def storage_options(self):
        return None if self.is_local else {key: value for key, value in os.environ.items() if key.startswith("AWS_")}


class Table:
    """A Delta table through delta-rs."""

    def __init__(self, root, name, findings):
        self.root = root
        self.name = name
        self.location = f"{root.location}/{name}"
        self.base = f"{root.base}/{name}"
        self.exists = deltalake.DeltaTable.is_deltatable(self.location, root.storage_options())
        self.actions = []
        self.strays = 0
        if self.exists:
            self.delta = deltalake.DeltaTable(self.location, storage_options=root.storage_options())
            self.actions = pa.table(self.delta.get_add_actions(flatten=True)).to_pylist()
            self.compare_with_folder(findings)

    def compare_with_folder(self, findings):
        """What the log lists must be there; what it does not list is no part of the table."""
        selector = pafs.FileSelector(self.base, recursive=True)
        there = {
            info.path[len(self.base) + 1 :]: info.size
            for info in self.root.file_system.get_file_info(selector)
            if info.type == pafs.FileType.File and "_delta_log/" not in info.path
        }
        listed = {self.path_of(action): action for action in self.actions}
        if len(listed) != len(self.actions):
            findings.add(f"{self.name}: the log lists a file twice")
        missing = [path for path in listed if path not in there]
        if missing:
            findings.add(f"{self.name}: files that the log lists are not there", missing)
        sizes = [path for path, action in listed.items() if path in there and there[path] != action["size_bytes"]]
        if sizes:
            findings.add(f"{self.name}: files are not as large as the log says", sizes)
        self.strays = len(there.keys() - listed.keys())

    @staticmethod
    def path_of(action):
        return unquote(action["path"])

    def logged_rows(self):
        return sum(action["num_records"] for action in self.actions)

    def open_files(self):
        """(path, Parquet file) for each file in the log."""
        for action in self.actions:
            path = self.path_of(action)
            with self.root.file_system.open_input_file(f"{self.base}/{path}") as source:
                yield path, pq.ParquetFile(source)

    def rows_by_pyarrow(self):
        columns = ["window", "ad_id", "region", "window_start", "window_end", "click_count", "unique_users", "date"]
        return self.delta.to_pyarrow_dataset().to_table(columns=columns)

    def rows_by_duckdb(self):
        """DuckDB reads the Parquet files; the partitions' values come from the log."""
        paths = [self.local_path(self.path_of(action)) for action in self.actions]
        if not paths:
            return self.rows_by_pyarrow()
        partitions = pa.table(
            {
                "path": paths,
                "window": [action["partition.window"] for action in self.actions],
                "date": [action["partition.date"] for action in self.actions],
            }
        )
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("partitions", partitions)
        return connection.sql(
            """
            SELECT p."window", ad_id, region, window_start, window_end, click_count, unique_users, p.date
            FROM read_parquet(?, filename = true, hive_partitioning = false) AS f
            JOIN partitions AS p ON f.filename = p.path
            """,
            params=[paths],
        ).to_arrow_table()

    def local_path(self, path):
        if self.root.is_local:
            return f"{self.base}/{path}"
        copy = self.root.scratch / self.name / path
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            with self.root.file_system.open_input_stream(f"{self.base}/{path}") as source:
                copy.write_bytes(source.read())
        return str(copy)

    def summary(self):
        if not self.exists:
            return f"{self.name}: no table"
        strays = f", and {self.strays} files that the log does not list" if self.strays else ""
        return (
            f"{self.name}: version {self.delta.version()}, {self.logged_rows():,} rows"
            f" in {len(self.actions):,} files{strays}"
        )


# --------------------------------------------------------------------------------------------------------- checking


def check_columns(table, findings):
    """The columns of clicks_agg are a contract."""
    schema = table.delta.to_pyarrow_dataset().schema
    wrong = [
        f"{name}: {schema.field(name).type if name in schema.names else 'missing'}, not {kind}"
        for name, kind in AGG_COLUMNS.items()
        if name not in schema.names or not same_type(schema.field(name).type, kind)
    ]
    if wrong:
        findings.add(f"{table.name}: columns are not as promised", wrong)


def same_type(actual, wanted):
    """Whether two types hold the same values: readers may choose views, larger offsets or dictionaries."""
    if pa.types.is_dictionary(actual):
        actual = actual.value_type
    texts = (pa.string(), pa.large_string(), pa.string_view())
    binaries = (pa.binary(), pa.large_binary(), pa.binary_view())
    return actual == wanted or any(actual in group and wanted in group for group in (texts, binaries))


def check_files(table, time_column, findings):
    """Each file: its footer's metadata, its compression, its number of rows and the order of its rows."""
    rows = {table.path_of(action): action["num_records"] for action in table.actions}
    footers, codecs, counts, unsorted = [], set(), [], []
    for path, file in table.open_files():
        metadata = file.metadata.metadata or {}
        absent = [key.decode() for key in FOOTER_KEYS if not metadata.get(key)]
        if absent:
            footers.append(f"{path}: no {', '.join(absent)}")
        if file.metadata.num_rows != rows[path]:
            counts.append(f"{path}: {file.metadata.num_rows} rows, the log says {rows[path]}")
        for group in range(file.metadata.num_row_groups):
            columns = range(file.metadata.num_columns)
            codecs.update(file.metadata.row_group(group).column(column).compression for column in columns)
        if not is_sorted(file.read(columns=["ad_id", time_column]), time_column):
            unsorted.append(path)
    if footers:
        findings.add(f"{table.name}: footers lack metadata", footers)
    if codecs - {"ZSTD"}:
        findings.add(f"{table.name}: columns are compressed by {', '.join(sorted(codecs))}")
    if counts:
        findings.add(f"{table.name}: files do not hold as many rows as the log says", counts)
    if unsorted:
        findings.add(f"{table.name}: rows are not in the order of ad_id, {time_column}", unsorted)


def is_sorted(rows, time_column):
    if rows.num_rows < 2:
        return True
    ads = rows["ad_id"].combine_chunks()
    times = rows[time_column].combine_chunks().cast(pa.int64())
    ad, next_ad, time, next_time = ads[:-1], ads[1:], times[:-1], times[1:]
    in_order = pc.or_(pc.less(ad, next_ad), pc.and_(pc.equal(ad, next_ad), pc.less_equal(time, next_time)))
    return pc.all(in_order).as_py()


def check_windows(engine, rows, oracle, findings, unfinished):
    """All rows that an engine sees of clicks_agg against all windows of the oracle; returns the clicks counted."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("seen_rows", rows)
    connection.register("oracle", oracle)
    connection.execute(
        """
        CREATE TEMP TABLE seen AS
        SELECT CAST("window" AS VARCHAR) AS length, CAST(ad_id AS VARCHAR) AS ad_id, CAST(region AS VARCHAR) AS region,
               epoch_us(window_start) AS start_us, epoch_us(window_end) AS end_us, click_count, unique_users,
               CAST(date AS DATE) AS date, CAST(window_start AS TIMESTAMP)::DATE AS start_date
        FROM seen_rows;
        -- The oracle knows no regions. A user who clicked in several is in the estimate of each.
        CREATE TEMP TABLE summed AS
        SELECT length, ad_id, start_us, sum(click_count) AS click_count, max(unique_users) AS least_users,
               sum(unique_users) AS most_users
        FROM seen GROUP BY ALL;
        CREATE TEMP TABLE wanted AS
        SELECT "window" AS length, ad_id, start_ms * 1000 AS start_us, clicks, users, coalesce(late, 0) AS late
        FROM oracle;
        """
    )

    def expect_none(message, query):
        examples = connection.execute(f"{query} LIMIT 10").fetchall()
        if examples:
            findings.add(f"clicks_agg by {engine}: {message}", examples)

    keys = "length, ad_id, start_us"
    both = f"FROM summed JOIN wanted USING ({keys})"
    expect_none(
        "windows more than once in a region", f"SELECT {keys}, region, count(*) FROM seen GROUP BY ALL HAVING count(*) > 1"
    )
    if not unfinished:
        missing = f"SELECT wanted.* FROM wanted ANTI JOIN seen USING ({keys}) WHERE wanted.clicks > 0"
        expect_none("windows that are missing", missing)
    expect_none("windows that should not be there", f"SELECT seen.* FROM seen ANTI JOIN wanted USING ({keys})")
    expect_none(
        "wrong counts (window, ad, start, seen, wanted, late ones on top)",
        f"SELECT {keys}, click_count, clicks, late {both} WHERE click_count NOT BETWEEN clicks AND clicks + late",
    )
    expect_none("windows in another day's partition", "SELECT * FROM seen WHERE date <> start_date")
    for length, length_us in WINDOW_LENGTH_US.items():
        expect_none(
            f"{length} windows that do not start or end where they must",
            f"SELECT * FROM seen WHERE length = '{length}'"
            f" AND (start_us % {length_us} <> 0 OR end_us <> start_us + {length_us})",
        )
    expect_none("windows without clicks or users", "SELECT * FROM seen WHERE click_count < 1 OR unique_users < 1")

    def beyond(errors):
        slack = f"greatest(1, {errors * STANDARD_ERROR} * users)"
        return f"{both} WHERE most_users < users - {slack} OR least_users > users + late + {slack}"

    expect_none(
        "estimates of users beyond six standard errors (window, ad, start, seen at least, at most, wanted)",
        f"SELECT {keys}, least_users, most_users, users {beyond(6)}",
    )
    outliers = connection.execute(f"SELECT count(*) {beyond(3)}").fetchone()[0]
    if outliers > max(1, OUTLIERS_ALLOWED * oracle.num_rows):
        findings.add(f"clicks_agg by {engine}: {outliers} estimates of users lie beyond three standard errors")
    return connection.execute("SELECT coalesce(sum(click_count), 0) FROM seen WHERE length = '1m'").fetchone()[0]


def check_clicks(table, expected_rows, findings, unfinished):
    """A table of single clicks: as many rows as there must be, none of them twice, and files as promised."""
    if not table.exists:
        if expected_rows and not unfinished:
            findings.add(f"{table.name}: there is no table, but {expected_rows} rows should be in it")
        return
    check_files(table, "event_time", findings)
    places = table.delta.to_pyarrow_dataset().to_table(columns=["partition", "offset"])
    if places.num_rows > expected_rows or (places.num_rows < expected_rows and not unfinished):
        findings.add(f"{table.name}: {places.num_rows} rows, not {expected_rows}")
    distinct = places.group_by(["partition", "offset"]).aggregate([]).num_rows
    if distinct != places.num_rows:
        findings.add(f"{table.name}: {places.num_rows - distinct} rows have another's partition and offset")


if __name__ == "__main__":
    main()
