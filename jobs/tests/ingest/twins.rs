//! The same click several times at once, and a log that does not answer as hoped.

use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Answer, post, post_json};
use crate::gate::Mode;
use crate::server::{Server, gated};

const CLICK: &str = r#"{"ad_id":"a","user_id":"u","timestamp":1790000000,"click_id":"twin"}"#;

/// Posts the click from many clients while the log holds it, then changes the mode: what they are told.
fn posted_at_once(server: &Server, gate: &crate::gate::Gate, then: Mode) -> Vec<Answer> {
    gate.set(Mode::Hold);
    let before = gate.appended();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..20).map(|_| scope.spawn(|| post_json(server.address, CLICK))).collect();
        let started = Instant::now();
        while gate.appended() == before {
            assert!(started.elapsed() < Duration::from_secs(10), "nothing came to the log");
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(200));
        assert_eq!(gate.appended(), before + 1, "twins are written once");
        gate.set(then);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[test]
fn concurrent_twins_are_written_once_and_one_is_accepted() {
    let (server, gate) = gated(&[]);
    let answers = posted_at_once(&server, &gate, Mode::Pass);
    assert_eq!((count(&answers, 202), count(&answers, 200)), (1, 19));
    assert_eq!(server.stop().len(), 1);
}

#[test]
fn twins_of_a_click_that_failed_are_not_told_that_it_is_there() {
    let (server, gate) = gated(&[]);
    let answers = posted_at_once(&server, &gate, Mode::Fail);
    assert_eq!(count(&answers, 503), 20);
    assert!(answers.iter().all(|answer| answer.header("retry-after").is_some()));
    gate.set(Mode::Pass);
    post_json(server.address, CLICK).expect(202);
    assert_eq!(server.stop().len(), 1);
}

#[test]
fn a_lost_answer_of_the_log_is_no_acceptance_and_sending_again_is_safe() {
    let (server, gate) = gated(&[]);
    gate.set(Mode::Lie);
    post_json(server.address, CLICK).expect_problem(503, "overloaded");
    gate.set(Mode::Pass);
    post_json(server.address, CLICK).expect(202);
    // It is in the log twice, which the job sees through by its id.
    let clicks = server.stop();
    assert_eq!(clicks.len(), 2);
    assert!(clicks.iter().all(|click| click["click_id"] == "twin"));
}

#[test]
fn a_batch_that_fails_in_part_can_be_sent_again() {
    let (server, gate) = gated(&[]);
    post_json(server.address, CLICK).expect(202);
    let batch = CLICK.to_owned() + "\n" + &CLICK.replace("twin", "other") + "\n" + &CLICK.replace("twin", "other");
    gate.set(Mode::Fail);
    post(server.address, "application/x-ndjson", &batch).expect_problem(503, "overloaded");
    gate.set(Mode::Pass);
    let verdict = post(server.address, "application/x-ndjson", &batch).expect(200).json();
    assert_eq!((verdict["accepted"].as_u64(), verdict["duplicate"].as_u64()), (Some(1), Some(2)), "{verdict}");
    assert_eq!(server.stop().len(), 2);
}

#[test]
fn a_client_that_has_gone_leaves_its_click_settled() {
    let (server, gate) = gated(&[]);
    gate.set(Mode::Hold);
    let mut client = crate::client::Client::connect(server.address);
    let head = crate::client::request_head("POST", "/v1/clicks", &[("content-type", "application/json")], CLICK.len());
    client.send(head + CLICK);
    while gate.appended() == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    drop(client);
    thread::sleep(Duration::from_millis(50));
    gate.set(Mode::Pass);
    let started = Instant::now();
    while post_json(server.address, CLICK).expect(200).json()["status"] != "duplicate" {
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(server.stop().len(), 1);
}
