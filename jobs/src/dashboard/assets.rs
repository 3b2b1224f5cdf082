//! The files, as `build.rs` found them.

/// A file of the dashboard.
#[derive(Debug)]
pub(super) struct Asset {
    pub(super) path: &'static str,
    pub(super) media_type: &'static str,
    pub(super) etag: &'static str,
    /// Other bytes need another tag.
    pub(super) gzip_etag: &'static str,
    pub(super) plain: &'static [u8],
    pub(super) gzip: &'static [u8],
}

pub(super) static ALL: &[Asset] = &include!(concat!(env!("OUT_DIR"), "/assets.rs"));
