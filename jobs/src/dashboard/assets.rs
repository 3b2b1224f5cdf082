//! The files, ours and those that `build.rs` fetches.

use std::io::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::HeaderValue;
use sha2::{Digest, Sha256};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// A file of the dashboard.
pub(super) struct Asset {
    pub(super) path: &'static str,
    pub(super) media_type: &'static str,
    bytes: &'static [u8],
    plain: OnceLock<Encoded>,
    gzip: OnceLock<Encoded>,
}

/// A file as it is sent.
pub(super) struct Encoded {
    pub(super) body: Bytes,
    /// Other bytes have another tag.
    pub(super) etag: HeaderValue,
}

pub(super) static ALL: [Asset; 29] = [
    Asset::of("/assets/address.js", SCRIPT, include_bytes!("../../dashboard/page/address.js")),
    Asset::of("/assets/ads.js", SCRIPT, include_bytes!("../../dashboard/page/ads.js")),
    Asset::of("/assets/api.js", SCRIPT, include_bytes!("../../dashboard/page/api.js")),
    Asset::of("/assets/app.js", SCRIPT, include_bytes!("../../dashboard/page/app.js")),
    Asset::of("/assets/chart.js", SCRIPT, include_bytes!("../../dashboard/page/chart.js")),
    Asset::of("/assets/connection.js", SCRIPT, include_bytes!("../../dashboard/page/connection.js")),
    Asset::of("/assets/controls.js", SCRIPT, include_bytes!("../../dashboard/page/controls.js")),
    Asset::of("/assets/docs.css", CSS, include_bytes!("../../dashboard/page/docs.css")),
    Asset::of("/docs", HTML, include_bytes!("../../dashboard/page/docs.html")),
    Asset::of("/assets/docs.js", SCRIPT, include_bytes!("../../dashboard/page/docs.js")),
    Asset::of("/assets/dom.js", SCRIPT, include_bytes!("../../dashboard/page/dom.js")),
    Asset::of("/assets/format.js", SCRIPT, include_bytes!("../../dashboard/page/format.js")),
    Asset::of("/assets/health.js", SCRIPT, include_bytes!("../../dashboard/page/health.js")),
    Asset::of("/assets/icon.svg", PICTURE, include_bytes!("../../dashboard/page/icon.svg")),
    Asset::of("/", HTML, include_bytes!("../../dashboard/page/index.html")),
    Asset::of("/assets/layout.css", CSS, include_bytes!("../../dashboard/page/layout.css")),
    Asset::of("/assets/palette.js", SCRIPT, include_bytes!("../../dashboard/page/palette.js")),
    Asset::of("/assets/parts.css", CSS, include_bytes!("../../dashboard/page/parts.css")),
    Asset::of("/assets/poll.js", SCRIPT, include_bytes!("../../dashboard/page/poll.js")),
    Asset::of("/assets/rates.js", SCRIPT, include_bytes!("../../dashboard/page/rates.js")),
    Asset::of("/assets/series.js", SCRIPT, include_bytes!("../../dashboard/page/series.js")),
    Asset::of("/assets/theme.css", CSS, include_bytes!("../../dashboard/page/theme.css")),
    Asset::of("/assets/theme.js", SCRIPT, include_bytes!("../../dashboard/page/theme.js")),
    Asset::of("/assets/top.js", SCRIPT, include_bytes!("../../dashboard/page/top.js")),
    Asset::of("/assets/vitals.js", SCRIPT, include_bytes!("../../dashboard/page/vitals.js")),
    Asset::of("/assets/uplot.js", SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/uplot.js"))),
    Asset::of("/assets/uplot.css", CSS, include_bytes!(concat!(env!("OUT_DIR"), "/uplot.css"))),
    Asset::of("/assets/swagger-ui.js", SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.js"))),
    Asset::of("/assets/swagger-ui.css", CSS, include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css"))),
];

/// Cargo runs `build.rs` anew where the lock is newer; in a target folder of several working copies an older one may differ.
const _: () = assert!(
    same(
        include_bytes!(concat!(env!("OUT_DIR"), "/package-lock.json")),
        include_bytes!("../../dashboard/package-lock.json")
    ),
    "the dashboard's parts were fetched for another working copy; touch jobs/dashboard/package-lock.json and build again"
);

impl Asset {
    const fn of(path: &'static str, media_type: &'static str, bytes: &'static [u8]) -> Self {
        Self { path, media_type, bytes, plain: OnceLock::new(), gzip: OnceLock::new() }
    }

    pub(super) fn plain(&self) -> &Encoded {
        self.plain.get_or_init(|| Encoded::of(Bytes::from_static(self.bytes)))
    }

    /// Compressed when it is first asked for.
    pub(super) fn gzip(&self) -> &Encoded {
        self.gzip.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            // Writing into memory does not fail.
            let written = encoder.write_all(self.bytes).and_then(|()| encoder.finish());
            Encoded::of(written.unwrap_or_default().into())
        })
    }
}

impl Encoded {
    fn of(body: Bytes) -> Self {
        let hash = Sha256::digest(&body);
        let tag = hash.iter().take(12).fold("\"".to_owned(), |text, byte| format!("{text}{byte:02x}")) + "\"";
        // Hexadecimal digits in quotes are a header's value.
        let etag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
        Self { body, etag }
    }
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}
