//! A client as it should be: what is not answered for good, it sends again as it was, here or elsewhere.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::PATIENCE;
use crate::book::Book;
use crate::connection::{Answer, Connection, NoAnswer};
use crate::load::Load;
use crate::posts::{Post, Posts, Sent};

/// A real client waits as long as Retry-After says; for a short test that is too long.
const LONGEST_WAIT_MS: u64 = 60;

pub struct Client<'a> {
    servers: &'a [SocketAddr],
    book: &'a Book,
    random: StdRng,
    posts: Posts,
    server: usize,
    connection: Option<Connection>,
    timeout: Duration,
}

impl<'a> Client<'a> {
    pub fn new(load: &Load<'a>, number: u64, book: &'a Book) -> Self {
        let mut random = StdRng::seed_from_u64(load.seed ^ (number << 32));
        let of_posts = StdRng::seed_from_u64(load.seed ^ (number << 40));
        Self {
            posts: Posts::new(format!("{}-{number}", load.prefix), load.first_ms, of_posts),
            server: random.random_range(0..load.servers.len()),
            timeout: Duration::from_millis(random.random_range(load.patience_ms.clone())),
            servers: load.servers,
            book,
            random,
            connection: None,
        }
    }

    /// Sends until it is told to stop; what it sent last is in the log then.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            let post = self.posts.next();
            self.deliver(&post);
            if self.random.random_bool(0.3) {
                sleep(Duration::from_millis(self.random.random_range(0..4)));
            }
            if self.random.random_bool(0.02) {
                self.turn();
            }
        }
    }

    fn deliver(&mut self, post: &Post) {
        let began = Instant::now();
        loop {
            match self.send(post) {
                Ok(answer) => {
                    self.book.answers.fetch_add(1, Ordering::Relaxed);
                    if answer.closes {
                        self.connection = None;
                    }
                    if self.is_final(post, &answer) {
                        return;
                    }
                    self.book.refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(reason) => {
                    self.count(&reason).fetch_add(1, Ordering::Relaxed);
                    self.turn();
                }
            }
            assert!(began.elapsed() < PATIENCE, "a request found no answer for {PATIENCE:?}: {}", self.book.facts());
            sleep(Duration::from_millis(self.random.random_range(0..LONGEST_WAIT_MS)));
            if self.random.random_bool(0.1) {
                self.turn();
            }
        }
    }

    fn send(&mut self, post: &Post) -> Result<Answer, NoAnswer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.servers[self.server], self.timeout)?,
        };
        let answer = connection.request(&post.request)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// Goes to another server.
    fn turn(&mut self) {
        self.connection = None;
        self.server = (self.server + 1) % self.servers.len();
    }

    /// Whether the clicks are in the log, or are no clicks. Any answer that must not be ends the test.
    fn is_final(&mut self, post: &Post, answer: &Answer) -> bool {
        match (answer.status, post.single) {
            (503, _) => {
                assert!(answer.retry_after.is_some(), "503 without Retry-After: {}", answer.text());
                false
            }
            (200 | 202, true) => {
                let verdict = answer.json();
                let expected = if answer.status == 202 { "accepted" } else { "duplicate" };
                assert_eq!(verdict["status"], expected, "{verdict}");
                let (id, sent) = post.clicks.first().unwrap_or_else(|| panic!("a broken click was taken: {verdict}"));
                let told = verdict["click_id"].as_str().unwrap();
                assert!(id.as_deref().is_none_or(|id| id == told), "{id:?} is called {told}");
                self.accepted(vec![(told.to_owned(), sent.clone())]);
                true
            }
            (200, false) => {
                check_batch(post, &answer.json());
                self.accepted(post.clicks.iter().map(|(id, sent)| (id.clone().unwrap(), sent.clone())).collect());
                true
            }
            (400, true) if !post.broken.is_empty() => true,
            _ => panic!("{} {}", answer.status, answer.text()),
        }
    }

    fn accepted(&mut self, clicks: Vec<(String, Sent)>) {
        if self.random.random_bool(0.1) {
            self.posts.earlier = clicks.last().cloned();
        }
        self.book.note(clicks);
    }

    fn count(&self, reason: &NoAnswer) -> &'a AtomicU64 {
        match reason {
            NoAnswer::Refused => &self.book.not_connected,
            NoAnswer::Closed => &self.book.closed,
            NoAnswer::TimedOut => &self.book.timed_out,
            NoAnswer::Torn => &self.book.torn,
        }
    }
}

/// Every click is in the log, and every one that is broken is named.
fn check_batch(post: &Post, verdict: &Value) {
    let number = |field: &str| verdict[field].as_u64().unwrap();
    assert_eq!(number("accepted") + number("duplicate"), post.clicks.len() as u64, "{verdict}");
    let rejected = verdict["rejected"].as_array().unwrap();
    let places: Vec<u64> = rejected.iter().map(|one| one["index"].as_u64().unwrap()).collect();
    assert_eq!(places, post.broken, "{verdict}");
}
