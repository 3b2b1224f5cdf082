//! What every log must do, run against each of them. A kind of log is added by implementing [`harness::Harness`] and
//! naming it in a `contract!` line below.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod crash;
mod disk;
mod harness;
mod kafka;
mod ndjson;
mod suite;

/// The whole suite for one kind of log.
macro_rules! contract {
    ($name:ident, $harness:expr) => {
        contract!($name, $harness,
            what_is_settled_is_read_back
            many_threads_append_at_once
            the_records_of_an_ad_keep_their_order
            an_empty_group_is_settled
            a_full_log_refuses_and_recovers
            a_record_is_refused_alone
            close_settles_everything_and_refuses_afterwards
            what_is_on_its_way_is_known
        );
    };
    ($name:ident, $harness:expr, $($test:ident)*) => {
        mod $name {
            $(#[test] fn $test() { crate::suite::$test(&$harness); })*
        }
    };
}

contract!(ndjson_one_partition, crate::ndjson::Embedded { partitions: 1, segment_bytes: 4_000 });
contract!(ndjson_three_partitions, crate::ndjson::Embedded { partitions: 3, segment_bytes: 1 << 20 });
contract!(kafka_one_partition, crate::kafka::Topic { partitions: 1, region: None });
contract!(kafka_three_partitions, crate::kafka::Topic { partitions: 3, region: Some("eu-1") });
