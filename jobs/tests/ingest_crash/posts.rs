//! What clients send: single clicks with and without an id, arrays and lines, with broken ones and copies among them.

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::connection::post;

const ADS: u32 = 40;
const USERS: u32 = 300;

/// Clicks are from ten minutes, hours ago.
pub const SPAN_MS: i64 = 600_000;

/// A click, as it must be in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub ad_id: String,
    pub user_id: String,
    pub time_ms: i64,
}

/// A request that is sent until it is answered.
pub struct Post {
    pub request: Vec<u8>,
    /// The clicks that are taken, with their ids; none where the server gives the id.
    pub clicks: Vec<(Option<String>, Sent)>,
    /// The places of what is no click.
    pub broken: Vec<u64>,
    pub single: bool,
}

/// Makes one post after another, each click of its own.
pub struct Posts {
    random: StdRng,
    /// Goes before every id.
    prefix: String,
    first_ms: i64,
    next: u64,
    /// A click that was accepted, to be sent once more.
    pub earlier: Option<(String, Sent)>,
}

impl Posts {
    pub fn new(prefix: String, first_ms: i64, random: StdRng) -> Self {
        Self { random, prefix, first_ms, next: 0, earlier: None }
    }

    pub fn next(&mut self) -> Post {
        if self.random.random_bool(0.4) { self.single() } else { self.several() }
    }

    fn single(&mut self) -> Post {
        let (id, sent) = self.click();
        let mut post = Post { request: Vec::new(), clicks: Vec::new(), broken: Vec::new(), single: true };
        match self.random.random_range(0..10) {
            0 => {
                let broken = json!({"ad_id": sent.ad_id, "click_id": format!("{id}-broken"), "timestamp": "yesterday"});
                post.request = crate::connection::post("application/json", "", broken.to_string().as_bytes());
                post.broken.push(0);
            }
            1 | 2 => {
                let text = object(None, &sent).to_string();
                post.request = crate::connection::post("application/json", "", text.as_bytes());
                post.clicks.push((None, sent));
            }
            3 => {
                let text = object(None, &sent).to_string();
                let header = format!("idempotency-key: {id}\r\n");
                post.request = crate::connection::post("application/json", &header, text.as_bytes());
                post.clicks.push((Some(id), sent));
            }
            _ => {
                let text = object(Some(&id), &sent).to_string();
                post.request = crate::connection::post("text/plain", "", text.as_bytes());
                post.clicks.push((Some(id), sent));
            }
        }
        post
    }

    fn several(&mut self) -> Post {
        let many = if self.random.random_bool(0.05) { 1500 } else { 30 };
        let count = self.random.random_range(1..many);
        let (mut clicks, mut broken, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..count {
            let (id, sent) = self.click();
            if self.random.random_bool(0.03) {
                texts.push(json!({"click_id": format!("{id}-broken"), "user_id": sent.user_id}).to_string());
                broken.push(index);
                continue;
            }
            texts.push(object(Some(&id), &sent).to_string());
            clicks.push((Some(id), sent));
        }
        // A copy from before, and one of the same request.
        let earlier = self.earlier.take().map(|(id, sent)| (Some(id), sent));
        let copy = clicks.first().filter(|_| self.random.random_bool(0.2)).cloned();
        for (id, sent) in earlier.into_iter().chain(copy) {
            texts.push(object(id.as_deref(), &sent).to_string());
            clicks.push((id, sent));
        }
        let request = if self.random.random_bool(0.5) {
            post("application/json", "", format!("[{}]", texts.join(",")).as_bytes())
        } else {
            post("application/x-ndjson", "", texts.join("\n").as_bytes())
        };
        Post { request, clicks, broken, single: false }
    }

    fn click(&mut self) -> (String, Sent) {
        let number = self.next;
        self.next += 1;
        let user = self.random.random_range(0..USERS);
        let sent = Sent {
            ad_id: format!("ad-{}", self.random.random_range(0..ADS)),
            // No other click may have the same fields, or both would be one where they have no id.
            user_id: format!("user-{}-{user}", self.prefix),
            time_ms: self.first_ms + (number as i64 * 37) % SPAN_MS,
        };
        (format!("{}-{number}", self.prefix), sent)
    }
}

fn object(id: Option<&str>, sent: &Sent) -> Value {
    let mut click = json!({"ad_id": sent.ad_id, "user_id": sent.user_id, "timestamp": sent.time_ms});
    if let Some(id) = id {
        click["click_id"] = id.into();
    }
    click
}
