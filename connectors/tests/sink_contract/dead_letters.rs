//! Dead letters in files keep the contract.

use std::sync::Arc;

use base64::Engine;
use serde_json::Value;
use weir_checkpoints::{Epoch, Offset, PartitionId, Store};
use weir_connectors::dead_letters::DeadLetters;
use weir_connectors::memory::{MemoryStore, Unreliable};
use weir_dataflow::{DeadLetterRow, Row};

use crate::contract::{self, Subject};
use crate::rows::describe;

#[test]
fn dead_letter_files_keep_the_contract() {
    contract::check(&|seed, faults| {
        let store = Arc::new(Unreliable::new(MemoryStore::new(), seed, faults));
        let reader = store.clone();
        Subject {
            factory: Box::new(move || Box::new(DeadLetters::new("clicks", store.clone()))),
            visible: Box::new(move || visible(reader.inner())),
            store_manifest: None,
            latest_ms: weir_dataflow::MAX_EVENT_TIME_MS,
        }
    });
}

fn visible(store: &MemoryStore) -> Vec<String> {
    let infos = store.list("dead_letters/").unwrap();
    let names = infos.into_iter().map(|info| info.name).filter(|name| !name.contains("/_"));
    let files = names.map(|name| String::from_utf8(store.get(&name).unwrap().unwrap()).unwrap());
    files.flat_map(|text| text.lines().map(describe_line).collect::<Vec<_>>()).collect()
}

fn describe_line(line: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["topic"], "clicks");
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let bytes = line["payload_base64"].as_str().map(decode);
    let text = line["payload"].as_str().map(|text| text.as_bytes().to_vec());
    let payload = bytes.or(text);
    let reasons = ["invalid_json", "missing_field", "invalid_field", "too_large"];
    describe(&Row::DeadLetter(DeadLetterRow {
        reason: reasons.into_iter().find(|reason| line["reason"] == *reason).unwrap(),
        detail: line["detail"].as_str().unwrap(),
        partition: PartitionId(line["partition"].as_u64().unwrap() as u32),
        offset: Offset(line["offset"].as_u64().unwrap()),
        epoch: Epoch(line["epoch"].as_u64().unwrap()),
        payload: payload.as_deref(),
    }))
}
