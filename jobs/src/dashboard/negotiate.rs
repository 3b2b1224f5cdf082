//! What a browser takes, and what it has.

use hyper::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};

/// Whether gzip is among the encodings that are taken.
pub(super) fn takes_gzip(request: &HeaderMap) -> bool {
    members(request, ACCEPT_ENCODING).any(|member| {
        let mut parts = member.split(';').map(str::trim);
        let named = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"));
        let refused = parts.any(|parameter| {
            let weight = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
            weight.and_then(|weight| weight.parse().ok()) == Some(0.0_f32)
        });
        named && !refused
    })
}

/// Whether a file with this tag is there already.
pub(super) fn has(request: &HeaderMap, etag: &HeaderValue) -> bool {
    members(request, IF_NONE_MATCH).any(|member| member == "*" || member.trim_start_matches("W/") == etag)
}

fn members(request: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = request.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}
