//! ClickHouse as the warm tier: the same numbers as from the tables, from both engines; and the tables where it is away.

use crate::clickhouse_engines::{Engine, Server};
use crate::process::{get, request, succeeds, wait_until, weir};
use crate::tiers::{ENDED, check_top_and_uniques, folder, generate, serve};
use crate::truth::Truth;

fn check(engine: Engine) {
    let mut server = Server::start(engine);
    let folder = folder();
    let folder = folder.path();
    let job = std::fs::read_to_string(folder.join("job.toml")).unwrap();
    let clickhouse = format!("[clickhouse]\nurl = \"http://127.0.0.1:{}\"\nretention = \"0s\"\n", server.port);
    std::fs::write(folder.join("job.toml"), job + &clickhouse).unwrap();
    let truth: Truth = generate(folder, "data/log/");
    succeeds(&weir(folder, &["run", "job.toml"]).output().unwrap());

    let (_process, address) = serve(folder, &[]);
    truth.check(address, ENDED);
    check_top_and_uniques(&truth, address);
    assert_eq!(get(address, "/v1/status")["tiers"][1]["state"], "ok");

    // Its rows, not those of the tables: a later revision of one window shows.
    let ad = truth.ads()[0].to_owned();
    let start = truth.start_of(&ad);
    let insert = format!(
        "INSERT INTO weir.clicks_agg (window, ad_id, window_start, window_end, click_count, unique_users, region, epoch, \
         revision, final) VALUES ('1m', '{ad}', toDateTime({start}), toDateTime({}), 4711, 1, '', 1000000, 1000000, 1)",
        start + 60
    );
    server.query(&insert);
    let question = |ad: &str| format!("/v1/stats?ad_id={ad}&window=1m&start={start}&end={}", start + 60);
    let clicks = |question: &str| get(address, question)["data"][0]["click_count"].as_u64();
    // The answer of before is kept for a minute; another question is another answer.
    let again = question(&ad).replace("start=", "fill=zero&start=");
    assert_eq!(clicks(&again), Some(4711));

    // Killed, it is not missed: the tables have all of it.
    server.kill();
    let fresh = question(&ad).replace("window=1m&", "") + "&window=1m";
    let answer = request(address, "GET", &fresh, "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_ne!(clicks(&fresh), Some(4711));
    wait_until("away", || get(address, "/v1/status")["tiers"][1]["state"] == "away");
    truth.check(address, ENDED);
}

#[test]
fn the_oldest_server_answers_like_the_tables() {
    check(Engine::Oldest);
}

#[test]
fn the_current_engine_answers_like_the_tables() {
    check(Engine::Current);
}
