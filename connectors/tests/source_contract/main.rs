//! What every source must do, run against each of them. A kind of source is added by implementing [`fixture::Fixture`]
//! and naming it in a `contract!` line below.
//!
//! The logs in object stores need servers, see `tests/remote`; so do the Kafka topics, see `tests/kafka`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;
mod kafka;
#[path = "../kafka/mod.rs"]
mod kafka_broker;
mod ndjson;
#[path = "../remote/mod.rs"]
mod remote;
mod suite;

/// The whole suite for one kind of log.
macro_rules! contract {
    ($name:ident, $fixture:expr) => {
        contract!($name, $fixture,
            every_record_comes_once_and_in_order
            reading_resumes_from_every_position
            positions_only_grow
            an_empty_log_is_no_error
            a_log_that_grows_is_read_on
            no_more_than_asked_for
            partitions_are_read_apart
            a_cut_start_is_never_skipped
            a_bounded_log_ends
            regions_are_handed_on
        );
    };
    ($name:ident, $fixture:expr, $($test:ident)*) => {
        mod $name {
            $(#[test] fn $test() { crate::suite::$test(&$fixture); })*
        }
    };
}

contract!(written_plain, crate::ndjson::Written { format: weir_connectors::ndjson::SegmentFormat::Plain });
contract!(written_zstd, crate::ndjson::Written { format: weir_connectors::ndjson::SegmentFormat::Zstd });
contract!(files_plain, crate::ndjson::Files { ending: ".ndjson" });
contract!(files_gzip, crate::ndjson::Files { ending: ".json.gz" });
contract!(files_zstd, crate::ndjson::Files { ending: ".jsonl.zst" });
contract!(s3_plain, crate::ndjson::Objects { fresh_url: crate::remote::s3, ending: ".ndjson" });
contract!(s3_gzip, crate::ndjson::Objects { fresh_url: crate::remote::s3, ending: ".ndjson.gz" });
contract!(s3_zstd, crate::ndjson::Objects { fresh_url: crate::remote::s3, ending: ".ndjson.zst" });
contract!(gcs_plain, crate::ndjson::Objects { fresh_url: crate::remote::gcs, ending: ".ndjson" });
contract!(azure_zstd, crate::ndjson::Objects { fresh_url: crate::remote::azure, ending: ".ndjson.zst" });
contract!(kafka_plain, crate::kafka::Topics { compression: "none" });
contract!(kafka_lz4, crate::kafka::Topics { compression: "lz4" });
