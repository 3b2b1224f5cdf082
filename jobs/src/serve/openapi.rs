//! The OpenAPI document of the questions, made from the types that are served.

use utoipa::OpenApi;

use super::answers::{
    AdStats, AdsStats, AllSeries, CheckpointStatus, IngestStatus, JobStatus, Point, Series, Stats, Status, TierStatus,
    Top, TopEntry, TopList, Truth, UniqueUsers, Uniques,
};
use crate::http::openapi::{Health, Refusals};
use crate::http::problem::ProblemBody;
use crate::ingest;

/// The document as JSON; with ingest's paths where those are served on the same port.
pub(crate) fn document(with_ingest: bool) -> String {
    let mut document = Document::openapi().merge_from(Health::openapi());
    if with_ingest {
        document = document.merge_from(ingest::openapi());
        document.info.title = "Weir".to_owned();
        document.info.description = Some("Takes ad clicks, and says how many there were.".to_owned());
    }
    // A document of the library's own types is always JSON.
    document.to_pretty_json().unwrap_or_default()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Weir queries",
        description = "Clicks and distinct users per ad and window, from the current minute to years ago.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(stats, top, uniques, status),
    components(schemas(
        AdStats,
        AdsStats,
        AllSeries,
        CheckpointStatus,
        IngestStatus,
        JobStatus,
        Point,
        ProblemBody,
        Series,
        Stats,
        Status,
        TierStatus,
        Top,
        TopEntry,
        TopList,
        Truth,
        UniqueUsers,
        Uniques
    ))
)]
struct Document;

/// Clicks and distinct users of ads, window by window.
#[utoipa::path(
    get,
    path = "/v1/stats",
    params(
        ("ad_id" = Vec<String>, Query, explode, description = "An ad; may be repeated, 100 at most", min_items = 1, max_items = 100),
        ("window" = String, Query, description = "1m, 5m or 1h", pattern = "^(1m|5m|1h)$"),
        ("start" = String, Query, description = "Windows that start here or later: unix seconds or RFC 3339"),
        ("end" = String, Query, description = "Windows that start before this: unix seconds or RFC 3339"),
        ("region" = Option<String>, Query, description = "Keeps one region; else all are added up"),
        ("fill" = Option<String>, Query, description = "zero: windows without clicks are not left out", pattern = "^zero$")
    ),
    responses(
        (status = 200, description = "One series, or several where ad_id is repeated", body = Stats),
        (status = 304, description = "The answer is the one with the ETag that was sent"),
        Refusals<'static>
    )
)]
#[allow(dead_code, reason = "it only carries the description")]
fn stats() {}

/// The ads with the most clicks in a window.
#[utoipa::path(
    get,
    path = "/v1/top",
    params(
        ("window" = String, Query, description = "1m, 5m or 1h", pattern = "^(1m|5m|1h)$"),
        ("at" = Option<String>, Query,
         description = "A time in the window: unix seconds or RFC 3339. Left out: the watermark"),
        ("region" = Option<String>, Query, description = "Keeps one region; else all are added up"),
        ("limit" = Option<u32>, Query, description = "How many ads; 10 where it is left out", minimum = 1, maximum = 1000)
    ),
    responses(
        (status = 200, description = "The ads, most clicks first", body = Top),
        (status = 304, description = "The answer is the one with the ETag that was sent"),
        Refusals<'static>
    )
)]
#[allow(dead_code, reason = "it only carries the description")]
fn top() {}

/// Distinct users of an ad over any range of minutes.
#[utoipa::path(
    get,
    path = "/v1/uniques",
    params(
        ("ad_id" = String, Query, description = "The ad", min_length = 1, max_length = 256),
        ("start" = String, Query, description = "Minutes that start here or later: unix seconds or RFC 3339"),
        ("end" = String, Query, description = "Minutes that start before this: unix seconds or RFC 3339"),
        ("region" = Option<String>, Query, description = "Keeps one region; else all are merged")
    ),
    responses(
        (status = 200, description = "Distinct users of all minutes together", body = Uniques),
        (status = 304, description = "The answer is the one with the ETag that was sent"),
        Refusals<'static>
    )
)]
#[allow(dead_code, reason = "it only carries the description")]
fn uniques() {}

/// How jobs, ingest and tiers are.
#[utoipa::path(
    get,
    path = "/v1/status",
    responses(
        (status = 200, description = "How everything is", body = Status),
        Refusals<'static>
    )
)]
#[allow(dead_code, reason = "it only carries the description")]
fn status() {}
