use super::*;

const KAFKA: &str = r#"
[job]
name = "clicks"
[source]
kind = "kafka"
brokers = "127.0.0.1:9092"
topic = "clicks"
[checkpoint]
url = "s3://bucket/weir/checkpoints"
[tables]
url = "s3://bucket/weir/tables"
"#;

fn parse(text: &str, environment: &[(&str, &str)], definitions: &[&str]) -> Result<JobConfig, ConfigError> {
    let variables = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags: Vec<String> = definitions.iter().map(|text| (*text).to_owned()).collect();
    JobConfig::parse(text, Path::new("job.toml"), variables, &flags)
}

/// A definition on top of a good Kafka job, and the message that it must give.
fn check(definition: &str, expected: &str) {
    let message = parse(KAFKA, &[], &[definition]).expect_err(definition).to_string();
    assert_eq!(message, expected, "{definition}");
}

/// The same for a whole job file.
fn check_file(text: &str, expected: &str) {
    let message = parse(text, &[], &[]).expect_err(text).to_string();
    assert_eq!(message, expected, "{text}");
}

#[test]
fn a_short_file_is_completed_with_defaults() {
    let config = parse(KAFKA, &[], &["job.workers=3"]).unwrap();
    assert_eq!(config.name, "clicks");
    assert_eq!(config.region, None);
    assert_eq!(config.workers, 3);
    assert_eq!(config.source, SourceConfig::Kafka(KafkaConfig::new("127.0.0.1:9092", "clicks", "clicks")));
    assert_eq!(config.time.out_of_orderness_ms, 10_000);
    assert_eq!(config.time.allowed_lateness_ms, 600_000);
    assert_eq!(config.dedup_horizon_ms, 1_200_000);
    assert_eq!(config.checkpoint.interval_epochs, 10);
    assert_eq!(config.archive, Some(ArchiveConfig { extra: false }));
    assert_eq!(config.metrics_listen, None);
}

#[test]
fn flags_come_before_the_environment_before_the_file_before_defaults() {
    let text = format!("{KAFKA}[time]\nidle_timeout = \"40s\"\n");
    let idle_ms =
        |environment: &[(&str, &str)], flags: &[&str]| parse(&text, environment, flags).unwrap().time.idle_timeout_ms;
    let environment = [("WEIR_TIME__IDLE_TIMEOUT", "50s"), ("WEIR_LOG", "debug"), ("HOME", "/root")];
    assert_eq!(parse(KAFKA, &[], &[]).unwrap().time.idle_timeout_ms, 30_000);
    assert_eq!(idle_ms(&[], &[]), 40_000);
    assert_eq!(idle_ms(&environment, &[]), 50_000);
    assert_eq!(idle_ms(&environment, &["time.idle_timeout=1m"]), 60_000);
}

#[test]
fn settings_reach_librdkafka_from_every_layer() {
    let text = format!("{KAFKA}[source.settings]\n\"fetch.wait.max.ms\" = 50\nsecurity.protocol = \"ssl\"\n");
    let environment = [("WEIR_SOURCE__SETTINGS__SASL_PASSWORD", "s3cret")];
    let config = parse(&text, &environment, &["source.settings.client.rack=b"]).unwrap();
    let SourceConfig::Kafka(KafkaConfig { settings, .. }) = config.source else { panic!("not kafka") };
    let expected =
        [("client.rack", "b"), ("fetch.wait.max.ms", "50"), ("sasl.password", "s3cret"), ("security.protocol", "ssl")];
    assert!(settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(expected), "{settings:?}");
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    check(
        "checkpoint.intervall=10s",
        "unknown key `checkpoint.intervall` (from -D): did you mean `checkpoint.interval`?",
    );
    check("tables.roll=1m", "unknown key `tables.roll` (from -D): did you mean `tables.url`?");
    check_file(
        "[dedupe]\nhorizon = \"1h\"\n",
        "unknown key `dedupe.horizon` (in job.toml): did you mean `dedup.horizon`?",
    );
    check_file("name = \"clicks\"\n", "unknown key `name` (in job.toml): did you mean `job.name`?");
    let message = parse(KAFKA, &[("WEIR_JOB__WORKER", "2")], &[]).unwrap_err().to_string();
    assert_eq!(message, "unknown key `job.worker` (from WEIR_JOB__WORKER): did you mean `job.workers`?");
}

#[test]
fn missing_keys_say_what_they_are_for() {
    check_file("", "missing key `job.name`: name the job, for example name = \"clicks\"");
    check_file(
        "[job]\nname = \"clicks\"\n",
        "missing key `source.kind`: say where clicks come from: kind = \"kafka\" or \"ndjson\"",
    );
    check_file(
        "[job]\nname = \"clicks\"\n[source]\nkind = \"ndjson\"\n",
        "missing key `source.url`: say where the log is, for example url = \"file:///data/clicks/\"",
    );
    check_file(
        "[job]\nname = \"clicks\"\n[source]\nkind = \"ndjson\"\nurl = \"/data\"\n",
        "missing key `checkpoint.url`: say where checkpoints go, for example url = \"s3://bucket/weir/checkpoints\"",
    );
}

#[test]
fn values_out_of_range_say_what_is_allowed() {
    check(
        "job.name=a/b",
        "`job.name` = \"a/b\" (from -D) is not allowed: it must be 1 to 64 letters, digits, `-`, `_` or `.`, not \
         starting with `.` or `-`",
    );
    check("job.workers=0", "`job.workers` = 0 (from -D) is not allowed: it must be a whole number from 1 to 256");
    check("job.workers=two", "`job.workers` = \"two\" (from -D) is not allowed: it must be a whole number");
    check("archive.enabled=yes", "`archive.enabled` = \"yes\" (from -D) is not allowed: it must be true or false");
    check(
        "time.allowed_lateness=10x",
        "`time.allowed_lateness` = \"10x\" (from -D) is not allowed: it must be a duration from 0s to 7d, written like \
         \"500ms\" or \"1h30m\"",
    );
    check(
        "epoch.interval=1ms",
        "`epoch.interval` = \"1ms\" (from -D) is not allowed: it must be a duration from 10ms to 1m, written like \
         \"500ms\" or \"1h30m\"",
    );
    check(
        "source.kind=kinesis",
        "`source.kind` = \"kinesis\" (from -D) is not allowed: it must be \"kafka\" or \"ndjson\"",
    );
    check(
        "source.brokers=localhost",
        "`source.brokers` = \"localhost\" (from -D) is not allowed: it must be host:port, or several with commas \
         between them",
    );
    check(
        "source.topic=a b",
        "`source.topic` = \"a b\" (from -D) is not allowed: it must be a topic name: 1 to 249 letters, digits, `-`, `_` \
         or `.`",
    );
    check(
        "tables.url=ftp://host/x",
        "`tables.url` = \"ftp://host/x\" (from -D) is not allowed: it must be a path, or a URL such as \
         \"file:///data/weir\", \"s3://bucket/weir\", \"gs://…\" or \"az://…\"",
    );
    check(
        "metrics.listen=9900",
        "`metrics.listen` = \"9900\" (from -D) is not allowed: it must be an address and a port, such as \
         \"127.0.0.1:9900\"",
    );
    check("workers", "`-D workers` sets nothing: write -D key=value, for example -D job.workers=4");
    check_file("[job]\nname = 5\n", "`job.name` = 5 (in job.toml) is not allowed: it must be text in quotes");
}

#[test]
fn values_must_fit_together() {
    check(
        "dedup.horizon=5m",
        "`dedup.horizon` = \"5m\" (from -D) is not allowed: it must be at least 11m10s (time.allowed_lateness + \
         time.out_of_orderness + 1m), or a copy of a click could be counted while its window is open",
    );
    check(
        "time.allowed_lateness=1h",
        "`dedup.horizon` = \"20m\" (a default) is not allowed: it must be at least 1h1m10s (time.allowed_lateness + \
         time.out_of_orderness + 1m), or a copy of a click could be counted while its window is open",
    );
    check(
        "checkpoint.interval=500ms",
        "`checkpoint.interval` = \"500ms\" (from -D) is not allowed: it must be at least epoch.interval, which is 1s",
    );
    check(
        "dead_letters.topic=clicks",
        "`dead_letters.topic` = \"clicks\" (from -D) is not allowed: it must be another topic than source.topic, or \
         every dead letter is read again",
    );
    check(
        "source.url=/data",
        "`source.url` (from -D) has no meaning here: with source.kind = \"kafka\" it is not read",
    );
    check(
        "source.settings.group.id=x",
        "`source.settings.group.id` (from -D) is refused: the group is `weir-<job>`, and only reports offsets",
    );
    let text = format!("{KAFKA}[archive]\nenabled = false\nextra = true\n");
    check_file(
        &text,
        "`archive.extra` = true (in job.toml) is not allowed: it must be false while archive.enabled is false",
    );
}

#[test]
fn broken_toml_is_shown_where_it_breaks() {
    let message = parse("[job\nname = 1\n", &[], &[]).unwrap_err().to_string();
    assert!(message.starts_with("job file job.toml is not valid TOML: "), "{message}");
    assert!(message.contains("line 1"), "{message}");
}
