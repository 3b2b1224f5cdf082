//! Every file of a JSON conformance corpus, as a request's body and inside a click.
//!
//! The names say what a parser must do: `y_…` is JSON, `n_…` is none, `i_…` is up to the parser. The corpus comes from a
//! package registry, where texts that are no UTF-8 are left out or mended; those are in `abuse.rs`.

use std::collections::BTreeMap;
use std::fs;

use weir_dataflow::Decoder;

use crate::client::{Client, request_head};
use crate::server::Server;

/// How many files the corpus has at least; a shorter one was not read right.
const FILES: usize = 300;

fn corpus() -> BTreeMap<String, Vec<u8>> {
    let folder = std::env::var("WEIR_TEST_JSON_CORPUS")
        .unwrap_or_else(|_| panic!("WEIR_TEST_JSON_CORPUS is not set: run the tests with scripts/test"));
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

/// The statuses that an answer may have when this text is a click's field.
fn allowed(name: &str) -> &'static [u16] {
    match name.split('_').next() {
        Some("y") => &[202],
        Some("n") => &[400, 413],
        _ => &[202, 400, 413],
    }
}

#[test]
fn the_corpus_is_answered_as_its_names_say() {
    let corpus = corpus();
    assert!(corpus.len() >= FILES, "{} files", corpus.len());
    let server = Server::start(&[]);
    let mut client = Client::connect(server.address);
    let mut accepted = 0;
    for (number, (name, text)) in corpus.iter().enumerate() {
        let start = format!(r#"{{"ad_id":"a","user_id":"u","timestamp":1,"click_id":"{number}","x":"#);
        let click = [start.as_bytes(), text, b"}"].concat();
        let mut post = |media_type: &str, body: &[u8]| {
            let head = request_head("POST", "/v1/clicks", &[("content-type", media_type)], body.len());
            client.send([head.as_bytes(), body].concat());
            client.answer().unwrap_or_else(|| panic!("{name}: no answer"))
        };
        // No file is a click, or a list of clicks.
        let alone = post("application/json", text);
        assert!([200, 400, 413].contains(&alone.status), "{name}: {alone:?}");
        assert!(alone.status != 200 || alone.json()["accepted"] == 0, "{name}: {alone:?}");
        let lines = post("application/x-ndjson", text).expect(200);
        assert_eq!(lines.json()["accepted"], 0, "{name}: {lines:?}");

        let answer = post("application/json", &click);
        assert!(allowed(name).contains(&answer.status), "{name}: {answer:?}");
        // What the edge says, the job says too.
        assert_eq!(answer.status == 202, Decoder::new().decode(Some(&click)).is_ok(), "{name}");
        accepted += usize::from(answer.status == 202);
    }
    let clicks = server.stop();
    assert_eq!(clicks.len(), accepted);
}
