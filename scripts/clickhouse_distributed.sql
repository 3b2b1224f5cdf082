-- Weir's tables on several shards and replicas, for a ClickHouse of version 22.2 or later with a Keeper.
--
--   clicks_agg, weir_progress          Distributed: what the job writes and what is asked
--     └ clicks_agg_local               ReplicatedReplacingMergeTree, on every replica of every shard
--     └ weir_progress_local            the same on one shard's worth of rows: a row for each job
--   clicks_agg_latest                  the view that is right to read as it is
--   billing_daily, corrections         Distributed: closed days; billing_daily_latest is the view over what is billed
--
-- Run it once, on any server, before the job's first start; replace the cluster's name `weir` if yours has another. The servers
-- must define the macros {shard} and {replica}. The job finds the tables and uses them as they are: it adds columns to no
-- Distributed table and changes no retention, so keep the TTL below in step with clickhouse.retention.
--
-- An ad lives on one shard whole. All rows of a window therefore meet in one ReplacingMergeTree, and FINAL, which works on each
-- shard by itself, sees all of them. Another sharding key would show windows twice.
--
-- The job's inserts wait until the rows are on their shards (insert_distributed_sync = 1). Whether they wait for more than one
-- replica is decided here: set insert_quorum = 'auto' in the profile of the job's user, or a replica that is lost at the
-- wrong moment takes rows with it that weir_progress has claimed. `weir clickhouse rebuild` brings them back.

CREATE DATABASE IF NOT EXISTS weir ON CLUSTER weir;

CREATE TABLE IF NOT EXISTS weir.clicks_agg_local ON CLUSTER weir
(
    window       Enum8('1m' = 1, '5m' = 5, '1h' = 60)  CODEC(ZSTD(1)),
    ad_id        String                                CODEC(ZSTD(1)),
    window_start DateTime('UTC')                       CODEC(Delta(4), ZSTD(1)),
    window_end   DateTime('UTC')                       CODEC(Delta(4), ZSTD(1)),
    click_count  UInt64                                CODEC(T64, ZSTD(1)),
    unique_users UInt64                                CODEC(T64, ZSTD(1)),
    user_sketch  String                                CODEC(ZSTD(1)),
    region       LowCardinality(String)                CODEC(ZSTD(1)),
    epoch        UInt64                                CODEC(Delta(8), ZSTD(1)),
    final        UInt8                                 CODEC(ZSTD(1)),
    revision     UInt64 DEFAULT epoch                  CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/weir/clicks_agg/{shard}', '{replica}', revision)
PARTITION BY toMonday(window_start)
ORDER BY (window, ad_id, window_start, region)
TTL window_start + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS weir.clicks_agg ON CLUSTER weir AS weir.clicks_agg_local
ENGINE = Distributed(weir, weir, clicks_agg_local, cityHash64(ad_id));

CREATE TABLE IF NOT EXISTS weir.weir_progress_local ON CLUSTER weir
(
    job      String,
    epoch    UInt64,
    from_ms  Int64,
    until_ms Int64,
    revision UInt64,
    written  DateTime('UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/weir/weir_progress/{shard}', '{replica}', revision)
ORDER BY job;

CREATE TABLE IF NOT EXISTS weir.weir_progress ON CLUSTER weir AS weir.weir_progress_local
ENGINE = Distributed(weir, weir, weir_progress_local, cityHash64(job));

CREATE VIEW IF NOT EXISTS weir.clicks_agg_latest ON CLUSTER weir AS
SELECT window, ad_id, window_start, window_end, click_count, unique_users, user_sketch, region, epoch, final, revision
FROM weir.clicks_agg FINAL;

CREATE TABLE IF NOT EXISTS weir.billing_daily_local ON CLUSTER weir
(
    date          Date,
    ad_id         String,
    click_count   UInt64,
    unique_users  UInt64,
    status        String,
    run           String,
    manifest_hash String,
    revision      UInt32,
    clicks_root   String
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/weir/billing_daily/{shard}', '{replica}', revision)
PARTITION BY toYYYYMM(date)
ORDER BY (date, ad_id);

CREATE TABLE IF NOT EXISTS weir.billing_daily ON CLUSTER weir AS weir.billing_daily_local
ENGINE = Distributed(weir, weir, billing_daily_local, cityHash64(ad_id));

CREATE VIEW IF NOT EXISTS weir.billing_daily_latest ON CLUSTER weir AS
SELECT date, ad_id, click_count, unique_users, status, run, manifest_hash, revision, clicks_root
FROM weir.billing_daily FINAL;

CREATE TABLE IF NOT EXISTS weir.corrections_local ON CLUSTER weir
(
    date      Date,
    ad_id     String,
    streamed  Int64,
    recounted Int64,
    delta     Int64,
    reason    String,
    run       String,
    offsets   String,
    revision  UInt32
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/weir/corrections/{shard}', '{replica}')
PARTITION BY toYYYYMM(date)
ORDER BY (date, ad_id, revision, reason);

CREATE TABLE IF NOT EXISTS weir.corrections ON CLUSTER weir AS weir.corrections_local
ENGINE = Distributed(weir, weir, corrections_local, cityHash64(ad_id));
