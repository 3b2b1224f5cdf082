//! The hot tier: windows in the memory of jobs, of this process or of others.
//!
//! Several processes of a job each hold some key groups; all are asked, and together they must hold all of them. Where one
//! does not answer, what the others said still counts, but nothing is complete.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;
use weir_checkpoints::KEY_GROUPS;
use weir_dataflow::{HotAnswer, HotProgress, TopAd, TopQuery, WindowQuery, WindowStats};

use super::answers::JobStatus;
use super::job_status::JobInProcess;
use super::wire;

/// The largest answer that is taken from a job process.
const MAX_ANSWER_BYTES: usize = 1 << 30;

/// Where the hot tier is.
pub(super) enum Hot {
    /// In this process.
    Here(JobInProcess),
    /// In these processes.
    There(Vec<JobProcess>),
}

/// A job process that answers for its windows.
pub(super) struct JobProcess {
    url: Url,
    client: Client<HttpConnector, Full<Bytes>>,
    timeout: Duration,
    away: AtomicBool,
}

/// What the hot tier says.
pub(super) struct HotFound<T> {
    pub(super) found: Vec<T>,
    /// What all answers together are true for; none where nobody answered.
    pub(super) progress: Option<Truth>,
}

/// What an answer of the hot tier is true for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Truth {
    pub(super) watermark_ms: Option<i64>,
    pub(super) closed_until_ms: i64,
    /// None where a key group is missing.
    pub(super) complete_from_ms: Option<i64>,
}

impl Hot {
    pub(super) async fn windows(&self, query: &WindowQuery) -> HotFound<WindowStats> {
        match self {
            Self::Here(job) => gathered([Some(job.hot.windows(query))]),
            Self::There(processes) => {
                let request = wire::WindowsRequest::of(query);
                let asked = processes.iter().map(|process| async {
                    let answer: wire::Answer<wire::Row> = process.ask(wire::WINDOWS, Some(&request)).await?;
                    answer.answer(query.window).context("a sketch in its answer is no base64")
                });
                gathered(processes.iter().zip(join_all(asked).await).map(|(process, asked)| process.noted(asked)))
            }
        }
    }

    /// The ads with the most clicks; more than are asked for where several processes answer, since an ad's regions may be
    /// spread over them.
    pub(super) async fn top(&self, query: &TopQuery) -> HotFound<TopAd> {
        match self {
            Self::Here(job) => gathered([Some(job.hot.top(query))]),
            Self::There(processes) => {
                let limit = if processes.len() > 1 && query.region.is_none() { usize::MAX } else { query.limit };
                let request = wire::TopRequest::of(&TopQuery { limit, ..query.clone() });
                let asked = processes.iter().map(|process| async {
                    let answer: wire::Answer<wire::Ad> = process.ask(wire::TOP, Some(&request)).await?;
                    Ok(answer.answer())
                });
                gathered(processes.iter().zip(join_all(asked).await).map(|(process, asked)| process.noted(asked)))
            }
        }
    }

    /// A number that is another one after every change; none where it is not known without asking.
    pub(super) fn changes(&self) -> Option<u64> {
        match self {
            Self::Here(job) => Some(job.hot.changes()),
            Self::There(_) => None,
        }
    }

    /// What an answer would be true for, where that is known without asking.
    pub(super) fn truth(&self) -> Option<Truth> {
        match self {
            Self::Here(job) => truth([&job.hot.progress()]),
            Self::There(_) => None,
        }
    }

    /// How the jobs are, one of several processes as one.
    pub(super) async fn status(&self) -> Vec<JobStatus> {
        match self {
            Self::Here(job) => vec![job.status()],
            Self::There(processes) => {
                let asked = processes.iter().map(|process| process.ask::<(), JobStatus>(wire::STATUS, None));
                let answers = processes.iter().zip(join_all(asked).await);
                JobStatus::together(answers.filter_map(|(process, asked)| process.noted(asked)))
            }
        }
    }
}

impl JobProcess {
    pub(super) fn new(url: Url, timeout: Duration) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { url, client, timeout, away: AtomicBool::new(false) }
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(&self, path: &str, question: Option<&Q>) -> Result<A> {
        let url = self.url.join(path).context("not a path")?;
        let mut request = Request::builder().uri(url.as_str()).header(CONTENT_TYPE, "application/json");
        let body = match question {
            Some(question) => {
                request = request.method(Method::POST);
                Bytes::from(serde_json::to_vec(question).context("not JSON")?)
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(body)).context("not a request")?;
        let exchange = async {
            let answer = self.client.request(request).await.context("no answer")?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(anyhow::Error::from_boxed).context("its answer was cut off")?.to_bytes();
            if !status.is_success() {
                bail!("it answers {status}");
            }
            serde_json::from_slice(&body).context("its answer is not of this version")
        };
        tokio::time::timeout(self.timeout, exchange).await.context("no answer in time")?
    }

    /// The answer, if there is one. What went wrong is logged when it begins, not at every question.
    fn noted<T>(&self, asked: Result<T>) -> Option<T> {
        let was_away = self.away.swap(asked.is_err(), Ordering::Relaxed);
        match asked {
            Ok(answer) => {
                if was_away {
                    tracing::info!(job = %self.url, "the job process answers again");
                }
                Some(answer)
            }
            Err(error) => {
                if !was_away {
                    tracing::warn!(job = %self.url, "the job process does not answer: {error:#}");
                }
                None
            }
        }
    }
}

fn gathered<T>(answers: impl IntoIterator<Item = Option<HotAnswer<T>>>) -> HotFound<T> {
    let answers: Vec<HotAnswer<T>> = answers.into_iter().flatten().collect();
    let progress = truth(answers.iter().map(|answer| &answer.progress));
    HotFound { found: answers.into_iter().flat_map(|answer| answer.found).collect(), progress }
}

/// What answers are true for together.
fn truth<'a>(answers: impl IntoIterator<Item = &'a HotProgress>) -> Option<Truth> {
    let mut held = BTreeMap::new();
    let mut sum: Option<Truth> = None;
    for answer in answers.into_iter().filter(|answer| answer.epoch.is_some()) {
        held.extend(answer.groups.iter().copied());
        let one = Truth {
            watermark_ms: answer.watermark_ms,
            closed_until_ms: answer.closed_until_ms,
            complete_from_ms: Some(answer.complete_from_ms),
        };
        sum = Some(sum.map_or(one, |sum| Truth {
            watermark_ms: sum.watermark_ms.min(one.watermark_ms),
            closed_until_ms: sum.closed_until_ms.min(one.closed_until_ms),
            complete_from_ms: sum.complete_from_ms.max(one.complete_from_ms),
        }));
    }
    let whole = held.iter().fold(0, |next, (start, end)| if *start <= next { next.max(*end) } else { next });
    sum.map(|sum| Truth { complete_from_ms: sum.complete_from_ms.filter(|_| whole >= KEY_GROUPS), ..sum })
}

impl JobStatus {
    /// The processes of one job as one: what is committed, the process with worker 0 knows.
    fn together(processes: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut jobs: BTreeMap<String, Self> = BTreeMap::new();
        for process in processes {
            match jobs.get_mut(&process.name) {
                None => drop(jobs.insert(process.name.clone(), process)),
                Some(job) => job.add(process),
            }
        }
        jobs.into_values().collect()
    }

    fn add(&mut self, mut other: Self) {
        if self.checkpoint.epoch < other.checkpoint.epoch {
            std::mem::swap(self, &mut other);
        }
        self.ready &= other.ready;
        self.lag.extend(other.lag);
        self.watermark = self.watermark.min(other.watermark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(groups: &[(u16, u16)], watermark_ms: Option<i64>, complete_from_ms: i64) -> HotProgress {
        HotProgress { epoch: Some(1), watermark_ms, closed_until_ms: 5, complete_from_ms, groups: groups.to_vec() }
    }

    #[test]
    fn only_all_key_groups_together_are_complete() {
        let check = |answers: &[HotProgress], expect: Option<(Option<i64>, Option<i64>)>| {
            let truth = truth(answers);
            assert_eq!(truth.map(|truth| (truth.watermark_ms, truth.complete_from_ms)), expect, "{answers:?}");
        };
        check(&[], None);
        check(&[progress(&[(0, 256)], Some(7), 3)], Some((Some(7), Some(3))));
        let two = [progress(&[(128, 256)], Some(9), 3), progress(&[(0, 64), (64, 128)], Some(7), 4)];
        check(&two, Some((Some(7), Some(4))));
        check(&two[..1], Some((Some(9), None)));
        check(&[progress(&[(0, 100)], None, 3), progress(&[(101, 256)], Some(7), 4)], Some((None, None)));
        check(&[HotProgress { epoch: None, ..progress(&[(0, 256)], None, 3) }], None);
    }
}
