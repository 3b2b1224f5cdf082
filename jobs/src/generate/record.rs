//! The bytes of a record: a click as an ad server would send it, filled up to the wished size.
//!
//! Nothing is serialised field by field through a library: a record is a few dozen copies of prepared pieces, since a
//! generator that is slower than the job it feeds measures itself.

use super::random::mix;
use super::stream::ClickSpec;

const USER_AGENTS: [&str; 12] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Mobile",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Edg/142.0.0.0",
    "ShopApp/7.12 (Android 15; de-DE) okhttp/4.12.0",
    // What real traffic also has: escapes, and text beyond ASCII.
    "Vid\\u00e9oth\\u00e8que/3.1 (\\\"TV\\\"; Tizen 8.0)",
    "Café/2.4 (Čtečka; Linux; aarch64)",
];
const PLACEMENTS: [&str; 8] =
    ["feed-top", "feed-mid", "sidebar", "pre-roll", "mid-roll", "interstitial", "search-1", "native-card"];
const SITES: [&str; 6] =
    ["news.example", "weather.example", "recipes.example", "football.example", "video.example", "maps.example"];
/// Rare kinds of user agent are the last ones; the others are drawn evenly.
const RARE_AGENTS: u64 = 2;
const COMMON_AGENTS: u64 = USER_AGENTS.len() as u64 - RARE_AGENTS;
/// One record in this many is laid out in another way.
const ODD_LAYOUT_EVERY: u64 = 32;

/// What fills a record up.
const FILLER: &[u8] =
    b"articles-2026-11-how-to-choose-a-bicycle-for-the-daily-ride-to-work-and-what-it-should-cost-you-";

/// Writes clicks into one buffer that is used again.
pub(super) struct RecordWriter {
    buffer: Vec<u8>,
    record_bytes: usize,
    /// Keeps the ids of different streams apart.
    id_key: u64,
}

impl RecordWriter {
    pub(super) fn new(record_bytes: u32, seed: u64, generation: u32) -> Self {
        let id_key = mix(mix(seed ^ 0x1d) ^ u64::from(generation));
        Self { buffer: Vec::with_capacity(record_bytes as usize + 1024), record_bytes: record_bytes as usize, id_key }
    }

    /// The record of a click.
    pub(super) fn click(&mut self, click: &ClickSpec) -> &[u8] {
        self.buffer.clear();
        if click.random.is_multiple_of(ODD_LAYOUT_EVERY) {
            self.odd_layout(click);
        } else {
            self.usual_layout(click);
        }
        &self.buffer
    }

    /// The `click_id` of a slot's click.
    pub(super) fn id(&mut self, origin: u64) -> &[u8] {
        self.buffer.clear();
        self.click_id(origin);
        &self.buffer
    }

    fn usual_layout(&mut self, click: &ClickSpec) {
        self.buffer.push(b'{');
        if click.has_click_id {
            self.text("\"click_id\":\"");
            self.click_id(click.origin);
            self.text("\",");
        }
        self.text("\"ad_id\":\"");
        push_ad_id(&mut self.buffer, click.ad);
        self.text("\",\"user_id\":\"");
        push_user_id(&mut self.buffer, click.user);
        self.text("\",\"timestamp\":");
        self.timestamp(click);
        self.text(",\"ip_address\":\"");
        self.ip_address(click);
        self.text("\",\"user_agent\":\"");
        self.text(user_agent(click.random));
        self.buffer.push(b'"');
        self.extras(click.random);
        self.filler(click.random);
        self.buffer.push(b'}');
    }

    /// The same fields in another order, with white space.
    fn odd_layout(&mut self, click: &ClickSpec) {
        self.text("{ \"timestamp\" : ");
        self.timestamp(click);
        self.text(", \"user_agent\": \"");
        self.text(user_agent(click.random));
        self.text("\",\t\"user_id\": \"");
        push_user_id(&mut self.buffer, click.user);
        self.text("\"");
        self.extras(click.random);
        self.text(", \"ip_address\": \"");
        self.ip_address(click);
        self.text("\", \"ad_id\": \"");
        push_ad_id(&mut self.buffer, click.ad);
        self.text("\"");
        if click.has_click_id {
            self.text(", \"click_id\": \"");
            self.click_id(click.origin);
            self.text("\"");
        }
        self.filler(click.random);
        self.buffer.push(b'}');
    }

    fn text(&mut self, text: &str) {
        self.buffer.extend_from_slice(text.as_bytes());
    }

    /// 32 hex digits in the shape of a UUID; no two origins have the same.
    fn click_id(&mut self, origin: u64) {
        let high = mix(self.id_key ^ origin);
        let low = mix(high ^ 0x5bd1_e995);
        let mut id = *b"00000000-0000-0000-0000-000000000000";
        let bytes = high.to_be_bytes().into_iter().chain(low.to_be_bytes());
        let digits = bytes.flat_map(|byte| [byte >> 4, byte & 15]);
        for (place, digit) in id.iter_mut().filter(|place| **place != b'-').zip(digits) {
            *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        }
        self.buffer.extend_from_slice(&id);
    }

    fn timestamp(&mut self, click: &ClickSpec) {
        let timestamp = if click.in_seconds { click.event_time_ms / 1000 } else { click.event_time_ms };
        push_number(&mut self.buffer, timestamp.unsigned_abs());
    }

    /// An address of its own for every origin, as long as there are fewer than 2^32: clicks without an id never meet by
    /// chance.
    fn ip_address(&mut self, click: &ClickSpec) {
        let spread = (click.origin as u32).wrapping_mul(0x9e37_79b1);
        if click.random & 0xf00 == 0 {
            self.text("2001:db8::");
            push_hex(&mut self.buffer, spread >> 16);
            self.buffer.push(b':');
            push_hex(&mut self.buffer, spread & 0xffff);
            return;
        }
        for (place, byte) in spread.to_be_bytes().into_iter().enumerate() {
            if place > 0 {
                self.buffer.push(b'.');
            }
            push_number(&mut self.buffer, u64::from(byte));
        }
    }

    /// Fields that are no business of Weir's, as far as there is room for them.
    fn extras(&mut self, random: u64) {
        if self.buffer.len() + 230 > self.record_bytes {
            return;
        }
        let bits = mix(random);
        self.text(",\"campaign_id\":\"cmp-");
        push_padded(&mut self.buffer, bits % 10_000, 5);
        self.text("\",\"placement\":\"");
        self.text(pick(&PLACEMENTS, bits >> 16));
        self.text("\",\"referrer\":\"https://");
        self.text(pick(&SITES, bits >> 24));
        self.text("/?utm_source=");
        push_padded(&mut self.buffer, (bits >> 32) % 1_000, 3);
        self.text("\",\"device\":{\"width\":");
        push_number(&mut self.buffer, 320 + (bits >> 40) % 2240);
        self.text(",\"touch\":true},\"bid\":0.");
        push_padded(&mut self.buffer, (bits >> 44) % 10_000, 4);
    }

    fn filler(&mut self, random: u64) {
        const AROUND: usize = ",\"page\":\"/\"}".len();
        let Some(mut missing) = self.record_bytes.checked_sub(self.buffer.len() + AROUND).filter(|room| *room > 0)
        else {
            return;
        };
        self.text(",\"page\":\"/");
        let mut from = (random >> 52) as usize % FILLER.len();
        while missing > 0 {
            let piece = FILLER.get(from..).unwrap_or(FILLER);
            let taken = piece.get(..missing).unwrap_or(piece);
            self.buffer.extend_from_slice(taken);
            missing -= taken.len();
            from = 0;
        }
        self.buffer.push(b'"');
    }
}

/// The text of an ad's id.
pub(super) fn push_ad_id(buffer: &mut Vec<u8>, ad: u32) {
    buffer.extend_from_slice(b"ad-");
    push_padded(buffer, u64::from(ad), 8);
}

/// The text of a user's id.
pub(super) fn push_user_id(buffer: &mut Vec<u8>, user: u32) {
    buffer.extend_from_slice(b"user-");
    push_padded(buffer, u64::from(user), 10);
}

fn user_agent(random: u64) -> &'static str {
    let bits = random >> 32;
    let number = if bits & 63 == 0 { COMMON_AGENTS + (bits >> 6) % RARE_AGENTS } else { (bits >> 6) % COMMON_AGENTS };
    pick(&USER_AGENTS, number)
}

fn pick(texts: &[&'static str], bits: u64) -> &'static str {
    texts.get(bits as usize % texts.len()).copied().unwrap_or_default()
}

fn push_number(buffer: &mut Vec<u8>, number: u64) {
    let digits = number.checked_ilog10().unwrap_or(0) + 1;
    push_padded(buffer, number, digits);
}

fn push_padded(buffer: &mut Vec<u8>, number: u64, digits: u32) {
    let mut text = [b'0'; 20];
    let mut rest = number;
    for place in text.iter_mut().rev() {
        if rest == 0 {
            break;
        }
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let from = text.len() - digits as usize;
    buffer.extend_from_slice(text.get(from..).unwrap_or_default());
}

fn push_hex(buffer: &mut Vec<u8>, number: u32) {
    for shift in [12, 8, 4, 0] {
        let digit = (number >> shift & 15) as u8;
        buffer.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}
