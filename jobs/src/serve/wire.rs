//! What a job process and a query service say to each other: questions and answers of the hot tier as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use weir_dataflow::{HotAnswer, HotProgress, TopAd, TopQuery, Window, WindowQuery, WindowStats};

/// Where job processes answer windows.
pub(crate) const WINDOWS: &str = "/internal/v1/windows";
/// Where they answer top lists.
pub(crate) const TOP: &str = "/internal/v1/top";
/// Where they say how they are.
pub(crate) const STATUS: &str = "/internal/v1/status";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WindowsRequest {
    ads: Vec<String>,
    window: String,
    start_ms: i64,
    end_ms: i64,
    region: Option<String>,
    sketches: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TopRequest {
    window: String,
    start_ms: i64,
    region: Option<String>,
    limit: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer<T> {
    found: Vec<T>,
    progress: Progress,
}

#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    epoch: Option<u64>,
    watermark_ms: Option<i64>,
    closed_until_ms: i64,
    complete_from_ms: i64,
    groups: Vec<(u16, u16)>,
}

/// One row: ad, region, start, clicks, users, sketch in base64, final, epoch.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row(String, Option<String>, i64, u64, u64, String, bool, u64);

/// Ad and clicks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ad(String, u64);

impl WindowsRequest {
    pub(crate) fn of(query: &WindowQuery) -> Self {
        Self {
            ads: query.ads.iter().map(ToString::to_string).collect(),
            window: query.window.as_str().to_owned(),
            start_ms: query.start_ms,
            end_ms: query.end_ms,
            region: query.region.as_deref().map(str::to_owned),
            sketches: query.sketches,
        }
    }

    pub(crate) fn query(self) -> Option<WindowQuery> {
        let Self { ads, window, start_ms, end_ms, region, sketches } = self;
        let ads = ads.into_iter().map(Into::into).collect();
        let region = region.map(Into::into);
        Some(WindowQuery { ads, window: window_of(&window)?, start_ms, end_ms, region, sketches })
    }
}

impl TopRequest {
    pub(crate) fn of(query: &TopQuery) -> Self {
        Self {
            window: query.window.as_str().to_owned(),
            start_ms: query.start_ms,
            region: query.region.as_deref().map(str::to_owned),
            limit: query.limit,
        }
    }

    pub(crate) fn query(self) -> Option<TopQuery> {
        let Self { window, start_ms, region, limit } = self;
        Some(TopQuery { window: window_of(&window)?, start_ms, region: region.map(Into::into), limit })
    }
}

impl Answer<Row> {
    pub(crate) fn of(answer: HotAnswer<WindowStats>) -> Self {
        let row = |row: WindowStats| {
            let sketch = STANDARD.encode(&row.user_sketch);
            let WindowStats { ad_id, region, start_ms, click_count, unique_users, is_final, epoch, .. } = row;
            let (ad_id, region) = (ad_id.to_string(), region.map(|region| region.to_string()));
            Row(ad_id, region, start_ms, click_count, unique_users, sketch, is_final, epoch)
        };
        Self { found: answer.found.into_iter().map(row).collect(), progress: Progress::of(answer.progress) }
    }

    /// The answer to a question for windows of this length; none where a sketch is not base64.
    pub(crate) fn answer(self, window: Window) -> Option<HotAnswer<WindowStats>> {
        let row = |Row(ad_id, region, start_ms, click_count, unique_users, sketch, is_final, epoch)| {
            let user_sketch = STANDARD.decode(sketch).ok()?;
            Some(WindowStats {
                ad_id: ad_id.into(),
                region: region.map(Into::into),
                window,
                start_ms,
                click_count,
                unique_users,
                user_sketch,
                is_final,
                epoch,
            })
        };
        let found = self.found.into_iter().map(row).collect::<Option<_>>()?;
        Some(HotAnswer { found, progress: self.progress.progress() })
    }
}

impl Answer<Ad> {
    pub(crate) fn of(answer: HotAnswer<TopAd>) -> Self {
        let found = answer.found.into_iter().map(|ad| Ad(ad.ad_id.to_string(), ad.click_count)).collect();
        Self { found, progress: Progress::of(answer.progress) }
    }

    pub(crate) fn answer(self) -> HotAnswer<TopAd> {
        let found =
            self.found.into_iter().map(|Ad(ad_id, click_count)| TopAd { ad_id: ad_id.into(), click_count }).collect();
        HotAnswer { found, progress: self.progress.progress() }
    }
}

impl Progress {
    fn of(progress: HotProgress) -> Self {
        let HotProgress { epoch, watermark_ms, closed_until_ms, complete_from_ms, groups } = progress;
        Self { epoch, watermark_ms, closed_until_ms, complete_from_ms, groups }
    }

    fn progress(self) -> HotProgress {
        let Self { epoch, watermark_ms, closed_until_ms, complete_from_ms, groups } = self;
        HotProgress { epoch, watermark_ms, closed_until_ms, complete_from_ms, groups }
    }
}

fn window_of(text: &str) -> Option<Window> {
    Window::ALL.into_iter().find(|window| window.as_str() == text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_come_across_whole() {
        let query = WindowQuery {
            ads: vec!["a\"\u{1f600}".into(), "b".into()],
            window: Window::FiveMinutes,
            start_ms: i64::MIN,
            end_ms: i64::MAX,
            region: Some("eu-1".into()),
            sketches: true,
        };
        let sent = serde_json::to_string(&WindowsRequest::of(&query)).unwrap();
        assert_eq!(serde_json::from_str::<WindowsRequest>(&sent).unwrap().query().unwrap(), query);
        let row = |region: Option<&str>, is_final| WindowStats {
            ad_id: "a".into(),
            region: region.map(Into::into),
            window: Window::FiveMinutes,
            start_ms: 300_000,
            click_count: u64::MAX,
            unique_users: 7,
            user_sketch: (0..=255).collect(),
            is_final,
            epoch: 9,
        };
        let progress = HotProgress {
            epoch: Some(9),
            watermark_ms: Some(1),
            closed_until_ms: i64::MIN,
            complete_from_ms: i64::MIN,
            groups: vec![(0, 128), (128, 256)],
        };
        let answer = HotAnswer { found: vec![row(None, true), row(Some("us"), false)], progress: progress.clone() };
        let sent = serde_json::to_string(&Answer::<Row>::of(answer.clone())).unwrap();
        let received: Answer<Row> = serde_json::from_str(&sent).unwrap();
        assert_eq!(received.answer(Window::FiveMinutes).unwrap(), answer);
        let answer = HotAnswer { found: vec![TopAd { ad_id: "a".into(), click_count: 3 }], progress };
        let sent = serde_json::to_string(&Answer::<Ad>::of(answer.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Answer<Ad>>(&sent).unwrap().answer(), answer);
    }
}
