//! The right answer, as the generator counted it, and the comparison with what is served.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::process::get;

/// Beyond this many users a count is an estimate.
const EXACT_USERS: u64 = 384;

/// Clicks and users of windows: (window, ad, start in seconds).
pub struct Truth {
    windows: BTreeMap<(String, String, i64), (u64, u64)>,
    pub start: i64,
    pub end: i64,
}

/// What is asked for of answers beside the right numbers.
#[derive(Clone, Copy)]
pub struct Demand {
    pub partial: bool,
    /// Every window is final.
    pub all_final: bool,
}

impl Truth {
    pub fn read(oracle: &Path) -> Self {
        let text = std::fs::read_to_string(oracle).unwrap();
        let mut windows = BTreeMap::new();
        for line in text.lines().skip(1) {
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(line.get("late").is_none(), "no click of this test is late: {line}");
            let key = (text_of(&line["window"]), text_of(&line["ad_id"]), line["start_ms"].as_i64().unwrap() / 1000);
            windows.insert(key, (line["clicks"].as_u64().unwrap(), line["users"].as_u64().unwrap()));
        }
        let starts = || windows.keys().map(|(_, _, start)| *start);
        let (start, end) = (starts().min().unwrap(), starts().max().unwrap() + 3600);
        Self { windows, start, end }
    }

    pub fn ads(&self) -> Vec<&str> {
        let ads: BTreeSet<&str> = self.windows.keys().map(|(_, ad, _)| ad.as_str()).collect();
        ads.into_iter().collect()
    }

    /// Whether every window of every ad is served as it was counted.
    pub fn is_served(&self, address: SocketAddr) -> bool {
        self.differences(address, None).is_empty()
    }

    #[track_caller]
    pub fn check(&self, address: SocketAddr, demand: Demand) {
        let differences = self.differences(address, Some(demand));
        assert!(differences.is_empty(), "{} differences, for one {}", differences.len(), differences[0]);
    }

    fn differences(&self, address: SocketAddr, demand: Option<Demand>) -> Vec<String> {
        let mut differences = Vec::new();
        for window in ["1m", "5m", "1h"] {
            let mut served: BTreeMap<(String, String, i64), (u64, u64)> = BTreeMap::new();
            for ads in self.ads().chunks(100) {
                let asked: String = ads.iter().map(|ad| format!("ad_id={ad}&")).collect();
                let answer =
                    get(address, &format!("/v1/stats?{asked}window={window}&start={}&end={}", self.start, self.end));
                if let Some(demand) = demand {
                    assert_eq!(answer["partial"], demand.partial, "{window}");
                }
                let series =
                    answer.get("series").map_or_else(|| vec![answer.clone()], |all| all.as_array().unwrap().clone());
                for series in series {
                    for point in series["data"].as_array().unwrap() {
                        if demand.is_some_and(|demand| demand.all_final && point["final"] != true) {
                            differences.push(format!("{} {window} {point} is not final", series["ad_id"]));
                        }
                        let key = (window.to_owned(), text_of(&series["ad_id"]), point["timestamp"].as_i64().unwrap());
                        let value = (point["click_count"].as_u64().unwrap(), point["unique_users"].as_u64().unwrap());
                        assert!(served.insert(key, value).is_none(), "a window is served twice: {point}");
                    }
                }
            }
            let expected = self.windows.iter().filter(|((length, _, _), _)| length == window);
            for (key, (clicks, users)) in expected {
                match served.remove(key) {
                    Some((count, _)) if count != *clicks => {
                        differences.push(format!("{key:?}: {count} instead of {clicks}"))
                    }
                    Some((_, found)) if !close(found, *users) => {
                        differences.push(format!("{key:?}: {found} users instead of {users}"));
                    }
                    Some(_) => {}
                    None => differences.push(format!("{key:?} is missing")),
                }
            }
            differences.extend(served.keys().map(|key| format!("{key:?} is too much")));
        }
        differences
    }

    /// Rows of all windows, as another engine has read them.
    #[track_caller]
    pub fn check_rows(&self, rows: &BTreeMap<(String, String, i64), (u64, u64)>) {
        assert_eq!(rows.len(), self.windows.len());
        for (key, (clicks, users)) in &self.windows {
            let (found, found_users) = rows.get(key).unwrap_or_else(|| panic!("{key:?} is missing"));
            assert!(found == clicks && close(*found_users, *users), "{key:?}: {found} instead of {clicks}");
        }
    }

    /// The ads of a window with the most clicks first.
    pub fn top(&self, window: &str, start: i64) -> Vec<(String, u64)> {
        let of_window = self.windows.iter().filter(|((length, _, at), _)| length == window && *at == start);
        let mut ads: Vec<(String, u64)> = of_window.map(|((_, ad, _), (clicks, _))| (ad.clone(), *clicks)).collect();
        ads.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        ads
    }

    /// All clicks.
    pub fn clicks(&self) -> u64 {
        self.windows.iter().filter(|((window, _, _), _)| window == "1m").map(|(_, (clicks, _))| clicks).sum()
    }

    /// The start of an ad's first minute with clicks.
    pub fn start_of(&self, ad: &str) -> i64 {
        let of_ad = self.windows.keys().filter(|(window, name, _)| window == "1m" && name == ad);
        of_ad.map(|(_, _, start)| *start).min().unwrap()
    }

    /// The starts of a length of windows.
    pub fn starts(&self, window: &str) -> BTreeSet<i64> {
        self.windows.keys().filter(|(length, _, _)| length == window).map(|(_, _, start)| *start).collect()
    }
}

fn close(found: u64, users: u64) -> bool {
    if users <= EXACT_USERS { found == users } else { (found as f64 - users as f64).abs() <= 0.06 * users as f64 }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
