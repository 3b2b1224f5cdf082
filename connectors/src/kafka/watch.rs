//! Whether the topic is still the one that the job reads, and which partitions it has by now.
//!
//! ```text
//!   every topic.metadata.refresh.interval.ms, ─▶ question ─▶ ┬ the same id     the partitions that there are by now
//!   and whenever something is odd                            ├ another id      it was made again ┐ if that stands for
//!   before a checkpoint is committed ─────────▶ question ─▶  ├ no such topic   it was deleted    ┘ SETTLED: stop
//!                                                            └ no answer       ask again, for as long as it takes
//! ```
//!
//! - Offsets do not tell a topic from another one that was made under its name, once that one has grown beyond the
//!   position. Its id does. It is kept with each position, and compared when the job starts.
//! - While the job runs, librdkafka itself goes over to the new topic, at the old offset. So before positions are committed
//!   the cluster is asked once more, after the last record was read: nothing of the new topic gets into a manifest.
//!   The answer is one broker's. Should that one not know yet of a topic that records were read from, a checkpoint too
//!   many is written; the next question finds out, and the job stops all the same.
//! - A broker that is just starting may not know a topic yet, so a bad answer counts only if it stands.
//! - A question that waits in the background is over before the source is dropped: nothing uses the client after that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use weir_checkpoints::PartitionId;
use weir_dataflow::SourceError;

use super::KafkaConfig;
use super::health::Health;
use super::look::{Answer, TopicLook, TopicNow};

/// How long an answer is waited for.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long all answers must say that the topic is gone, or another one, before that counts.
const SETTLED: Duration = Duration::from_secs(3);
/// The pause between two questions while something is odd.
const ODD_PAUSE: Duration = Duration::from_millis(500);
/// How long a question in the background does not look whether the source is still there.
const SLICE: Duration = Duration::from_millis(50);
/// How many events of the client are handled while an answer is waited for.
const SERVE_EVENTS: usize = 32;

/// Keeps an eye on the topic of one client.
pub(super) struct TopicWatch {
    consumer: Arc<BaseConsumer<Health>>,
    judge: Judge,
    /// None: only when something is odd.
    interval: Option<Duration>,
    asked_at: Instant,
    asked: Option<TopicLook<Health>>,
    odd: bool,
    partitions: Vec<PartitionId>,
    background: Arc<Background>,
}

/// The question that is asked in the background, at most one at a time.
#[derive(Debug, Default)]
struct Background {
    over: AtomicBool,
    running: Mutex<()>,
}

impl TopicWatch {
    /// From the answer to the first question on.
    pub(super) fn new(
        consumer: &Arc<BaseConsumer<Health>>,
        config: &KafkaConfig,
        interval: Option<Duration>,
        first: TopicNow,
    ) -> Self {
        Self {
            consumer: Arc::clone(consumer),
            judge: Judge::new(config, first.id),
            interval,
            asked_at: Instant::now(),
            asked: None,
            odd: false,
            partitions: first.partitions,
            background: Arc::default(),
        }
    }

    /// The partitions that were there when the cluster last answered.
    pub(super) fn partitions(&self) -> &[PartitionId] {
        &self.partitions
    }

    /// Takes the answer if it is there, and asks again if it is time to, at once if something is `odd`. Does not wait.
    pub(super) fn turn(&mut self, odd: bool) -> Result<(), SourceError> {
        self.odd |= odd;
        if let Some(asked) = &mut self.asked {
            let Some(answer) = asked.answer(Duration::ZERO) else { return Ok(()) };
            self.asked = None;
            if let Some(now) = self.judge.take(answer)? {
                self.partitions = now.partitions;
            }
        }
        let pause = if self.odd || self.judge.is_in_doubt() { Some(ODD_PAUSE) } else { self.interval };
        if pause.is_some_and(|pause| self.asked_at.elapsed() >= pause) {
            self.odd = false;
            self.asked_at = Instant::now();
            self.asked = TopicLook::ask(&self.consumer, &self.judge.config.topic, LOOK_TIMEOUT);
        }
        Ok(())
    }

    /// Asks now and waits; fails if the topic is gone or another one. A cluster that does not answer says nothing.
    pub(super) fn look(&self) -> Result<(), SourceError> {
        match self.judge.verdict(ask(&self.consumer, &self.judge.config.topic, &self.background.over)) {
            Verdict::Other(error) => Err(error),
            Verdict::Same(_) | Verdict::None => Ok(()),
        }
    }

    /// Asks whether what was read up to now was read from this topic; none where topics have no ids.
    pub(super) fn confirmation(&self) -> Option<impl FnOnce() -> Result<(), SourceError> + Send + use<>> {
        self.judge.id.as_ref()?;
        let mut judge = Judge::new(&self.judge.config, self.judge.id.clone());
        let (consumer, background) = (Arc::downgrade(&self.consumer), Arc::clone(&self.background));
        Some(move || {
            let _running = background.running.lock().unwrap_or_else(PoisonError::into_inner);
            if background.over.load(Ordering::Acquire) {
                return Err(judge.over());
            }
            // From here on the source waits for the lock, so this is never the last one to hold the client.
            let consumer = consumer.upgrade().ok_or_else(|| judge.over())?;
            judge.wait(&consumer, None, &background.over).map(|_same| ())
        })
    }
}

impl Drop for TopicWatch {
    fn drop(&mut self) {
        self.background.over.store(true, Ordering::Release);
        let _not_running = self.background.running.lock().unwrap_or_else(PoisonError::into_inner);
    }
}

/// The topic that a client is about to read. Waits for the cluster, up to the timeout.
pub(super) fn first_look(
    consumer: &Arc<BaseConsumer<Health>>,
    config: &KafkaConfig,
    timeout: Duration,
) -> Result<TopicNow, SourceError> {
    Judge::new(config, None).wait(consumer, Some(timeout), &AtomicBool::new(false))
}

/// What answers say about one topic, one after the other.
struct Judge {
    config: KafkaConfig,
    id: Option<String>,
    /// Since when every answer has said that it is gone, or another one.
    other_since: Option<Instant>,
}

enum Verdict {
    Same(TopicNow),
    Other(SourceError),
    None,
}

impl Judge {
    fn new(config: &KafkaConfig, id: Option<String>) -> Self {
        Self { config: config.clone(), id, other_since: None }
    }

    fn is_in_doubt(&self) -> bool {
        self.other_since.is_some()
    }

    fn verdict(&self, answer: Answer) -> Verdict {
        let location = self.config.location(&self.config.topic);
        match answer {
            Answer::Topic(now) => match self.id.as_deref().zip(now.id.as_deref()) {
                Some((read, found)) if read != found => {
                    Verdict::Other(SourceError::Replaced { location, reason: made_again(read, found) })
                }
                _ => Verdict::Same(now),
            },
            Answer::Missing => Verdict::Other(match self.id.as_deref() {
                Some(read) => {
                    let reason = format!(
                        "the topic, with the id {read}, was deleted while it was read. What was not counted by then is lost; \
                         start a new job under another name for whatever comes in its place"
                    );
                    SourceError::Invalid { location, reason }
                }
                None => no_such_topic(&self.config),
            }),
            Answer::Refused(reason) => Verdict::Other(SourceError::Unreadable { location, reason }),
            Answer::Silent(_) => Verdict::None,
        }
    }

    /// The topic, where the answer shows that it is the same; an error once all answers have said otherwise for a while.
    fn take(&mut self, answer: Answer) -> Result<Option<TopicNow>, SourceError> {
        match self.verdict(answer) {
            Verdict::Same(now) => {
                self.other_since = None;
                Ok(Some(now))
            }
            // What was said before a silence has not stood through it.
            Verdict::None => {
                self.other_since = self.other_since.map(|_| Instant::now());
                Ok(None)
            }
            Verdict::Other(error) => {
                let since = *self.other_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= SETTLED { Err(error) } else { Ok(None) }
            }
        }
    }

    fn over(&self) -> SourceError {
        let reason = "the job has ended before a broker has answered".to_owned();
        SourceError::Unreadable { location: self.config.location(&self.config.topic), reason }
    }

    /// Asks until there is an answer that counts, until the timeout, or until it is `over`.
    fn wait(
        &mut self,
        consumer: &Arc<BaseConsumer<Health>>,
        timeout: Option<Duration>,
        over: &AtomicBool,
    ) -> Result<TopicNow, SourceError> {
        let asked_at = Instant::now();
        loop {
            let answer = ask(consumer, &self.config.topic, over);
            if over.load(Ordering::Acquire) {
                return Err(self.over());
            }
            let silence = match &answer {
                Answer::Silent(reason) => Some(reason.clone()),
                _ => None,
            };
            if let Some(now) = self.take(answer)? {
                return Ok(now);
            }
            for _ in 0..SERVE_EVENTS {
                let _handled_by_the_context = consumer.poll(Duration::ZERO);
            }
            let health = consumer.context();
            let location = || self.config.location(&self.config.topic);
            if let Some(reason) = health.fatal() {
                return Err(SourceError::Unreadable { location: location(), reason });
            }
            if let Some(silence) = silence {
                if timeout.is_some_and(|timeout| asked_at.elapsed() >= timeout) {
                    let said = health.last_error().map_or_else(String::new, |said| format!(" ({said})"));
                    let reason = format!("the question for the topic's id was not answered: {silence}{said}");
                    return Err(SourceError::Unreadable { location: location(), reason });
                }
                health.log_passing(&format!("nobody says whether the topic is still the one that was read: {silence}"));
            }
            std::thread::sleep(ODD_PAUSE);
        }
    }
}

fn ask(consumer: &Arc<BaseConsumer<Health>>, topic: &str, over: &AtomicBool) -> Answer {
    let asked_at = Instant::now();
    if let Some(mut look) = TopicLook::ask(consumer, topic, LOOK_TIMEOUT) {
        // librdkafka ends the question itself; it is given a moment to say so.
        while asked_at.elapsed() < LOOK_TIMEOUT + ODD_PAUSE && !over.load(Ordering::Acquire) {
            if let Some(answer) = look.answer(SLICE) {
                return answer;
            }
        }
    }
    Answer::Silent("no broker has answered".to_owned())
}

/// What is wrong with a topic of another id.
pub(super) fn made_again(read: &str, found: &str) -> String {
    format!(
        "the topic was deleted and made again: the job has read the one with the id {read}, and now there is {found}"
    )
}

pub(super) fn no_such_topic(config: &KafkaConfig) -> SourceError {
    let reason = format!(
        "the topic does not exist; create it, for instance with \
         `kafka-topics.sh --bootstrap-server {} --create --topic {} --partitions 8`",
        config.brokers, config.topic
    );
    SourceError::Invalid { location: config.location(&config.topic), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: Option<&str>) -> Answer {
        Answer::Topic(TopicNow { id: id.map(str::to_owned), partitions: vec![PartitionId(0)] })
    }

    fn judge(id: Option<&str>) -> Judge {
        Judge::new(&KafkaConfig::new("b:1", "clicks", "main"), id.map(str::to_owned))
    }

    fn is_same(judge: &mut Judge, answer: Answer) -> bool {
        judge.take(answer).unwrap().is_some()
    }

    #[test]
    fn a_topic_is_the_same_by_its_id_where_both_have_one() {
        assert!(is_same(&mut judge(Some("a")), topic(Some("a"))));
        assert!(is_same(&mut judge(None), topic(Some("a"))));
        assert!(is_same(&mut judge(Some("a")), topic(None)));
        assert!(!is_same(&mut judge(Some("a")), topic(Some("b"))));
    }

    #[test]
    fn another_id_counts_once_it_has_stood_for_a_while() {
        let mut judge = judge(Some("a"));
        assert!(!is_same(&mut judge, topic(Some("b"))) && judge.is_in_doubt());
        // A broker that was behind has caught up.
        assert!(is_same(&mut judge, topic(Some("a"))) && !judge.is_in_doubt());
        for (answer, words) in [(topic(Some("b")), "made again"), (Answer::Missing, "was deleted while it was read")] {
            assert!(!is_same(&mut judge, answer.clone()));
            // Silence neither confirms nor denies, and nothing stands through it.
            judge.other_since = Instant::now().checked_sub(SETTLED);
            assert!(!is_same(&mut judge, Answer::Silent(String::new())) && judge.is_in_doubt());
            assert!(!is_same(&mut judge, answer.clone()));
            judge.other_since = Instant::now().checked_sub(SETTLED);
            let error = judge.take(answer).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            judge.other_since = None;
        }
    }
}
