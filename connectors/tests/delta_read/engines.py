"""Another engine on a table: `engines.py compact TABLE` rewrites it, `engines.py rows TABLE` prints its rows as JSON lines."""

import json
import sys

import deltalake
import duckdb

action, table = sys.argv[1:]
delta = deltalake.DeltaTable(table)
if action == "compact":
    delta.optimize.compact()
    delta = deltalake.DeltaTable(table)
    gone = delta.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert gone, "nothing was rewritten"
else:
    query = """
        select ad_id, "window", epoch_ms(window_start), click_count, unique_users, region, epoch, hex(user_sketch)
        from read_parquet($1, hive_partitioning = true, union_by_name = true)
        order by all
    """
    for row in duckdb.execute(query, [delta.file_uris()]).fetchall():
        print(json.dumps(row))
