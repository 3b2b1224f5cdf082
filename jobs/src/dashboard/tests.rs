#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Read;

use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use hyper::header::{ACCEPT_ENCODING, IF_NONE_MATCH};

use super::*;

fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
}

fn get(path: &str, request: &HeaderMap) -> (StatusCode, HeaderMap, Vec<u8>) {
    let (head, body) = page(path, request).unwrap().into_parts();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    (head.status, head.headers, runtime.block_on(body.collect()).unwrap().to_bytes().to_vec())
}

#[test]
fn each_file_is_the_same_plain_and_gzipped() {
    for asset in &assets::ALL {
        let (status, head, plain) = get(asset.path, &HeaderMap::new());
        assert_eq!((status, head.get(CONTENT_ENCODING)), (StatusCode::OK, None), "{}", asset.path);
        let (_, head, gzip) = get(asset.path, &headers(&[(ACCEPT_ENCODING, "br, gzip;q=0.5")]));
        assert_eq!(head[CONTENT_ENCODING], "gzip", "{}", asset.path);
        let mut unpacked = Vec::new();
        GzDecoder::new(&gzip[..]).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain && !plain.is_empty(), "{}", asset.path);
    }
}

#[test]
fn every_file_of_the_page_is_served() {
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/dashboard/page")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let path = match name.as_str() {
            "index.html" => "/".to_owned(),
            "docs.html" => "/docs".to_owned(),
            other => format!("/assets/{other}"),
        };
        assert!(page(&path, &HeaderMap::new()).is_some(), "{name} is in no list");
    }
}

#[test]
fn gzip_is_sent_to_those_who_take_it() {
    for (accept, expected) in
        [("gzip", true), ("GZIP; q=1", true), ("gzip;q=0", false), ("gzip;q=0.000, br", false), ("br", false)]
    {
        assert_eq!(negotiate::takes_gzip(&headers(&[(ACCEPT_ENCODING, accept)])), expected, "{accept}");
    }
}

#[test]
fn what_the_browser_has_is_not_sent_again() {
    let (_, head, _) = get("/", &HeaderMap::new());
    let etag = head[ETAG].to_str().unwrap().to_owned();
    for tags in [etag.clone(), format!("\"other\", W/{etag}"), "*".to_owned()] {
        let (status, head, body) = get("/", &headers(&[(IF_NONE_MATCH, &tags)]));
        assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{tags}");
        assert_eq!(head[ETAG], etag.as_str());
    }
    // The gzipped file has other bytes: its tag is not that of the plain one.
    let (status, ..) = get("/", &headers(&[(IF_NONE_MATCH, &etag), (ACCEPT_ENCODING, "gzip")]));
    assert_eq!(status, StatusCode::OK);
}

#[test]
fn scripts_and_styles_are_files_of_ours() {
    for path in ["/", "/docs"] {
        let (_, head, body) = get(path, &HeaderMap::new());
        let policy = head[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let markup = String::from_utf8(body).unwrap();
        for reference in references(&markup) {
            assert!(page(reference, &HeaderMap::new()).is_some(), "{path} refers to {reference}, which is not there");
        }
    }
}

/// Paths of the scripts, styles and pictures that a page names.
fn references(markup: &str) -> impl Iterator<Item = &str> {
    let values = ["src=\"", "href=\""].into_iter().flat_map(|attribute| markup.split(attribute).skip(1));
    values.filter_map(|rest| rest.split('"').next()).filter(|value| value.starts_with("/assets/"))
}

#[test]
fn other_paths_are_not_the_dashboards() {
    for path in ["/v1/clicks", "/assets/", "/assets/../Cargo.toml", "/index.html", ""] {
        assert!(page(path, &HeaderMap::new()).is_none(), "{path}");
    }
}
