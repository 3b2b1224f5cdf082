//! Traffic that is not billed: lists of click ids, users and networks.
//!
//! ```text
//!   {"click_id":"01J…"}
//!   {"user_id":"bot-7"}
//!   {"ip_address":"203.0.113.0/24"}      an address or a network
//! ```
//!
//! A list is kept with the day's records, by its hash, so that every later run takes the same clicks out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use ipnet::IpNet;
use serde::Deserialize;
use weir_checkpoints::{Store, content_hash};
use weir_dataflow::Click;
use weir_dataflow::reconcile::InvalidTraffic;

/// A list, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExclusionList {
    /// Its name: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Its lines.
    pub bytes: Vec<u8>,
}

/// Lists, ready to be asked.
#[derive(Debug, Default)]
pub struct Exclusions {
    clicks: HashSet<Box<str>>,
    users: HashSet<Box<str>>,
    networks: Networks,
}

/// By the kind of address and the length of the prefix.
type Networks = BTreeMap<(bool, u8), HashSet<u128>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    click_id: Option<Box<str>>,
    user_id: Option<Box<str>>,
    ip_address: Option<Box<str>>,
    /// For people.
    #[serde(rename = "reason")]
    _reason: Option<Box<str>>,
}

impl ExclusionList {
    /// Its hash, SHA-256 in hex.
    #[must_use]
    pub fn hash(&self) -> String {
        content_hash(&self.bytes)
    }

    /// Reads a list that is kept.
    pub fn kept(store: &dyn Store, days: &str, name: &str, hash: &str) -> Result<Self> {
        let object = object_name(days, hash);
        let bytes =
            store.get(&object)?.with_context(|| format!("the list `{name}` of excluded traffic ({object}) is gone"))?;
        let list = Self { name: name.to_owned(), bytes };
        if list.hash() != hash {
            bail!("the list `{name}` of excluded traffic ({object}) was changed after it was used");
        }
        Ok(list)
    }

    /// Keeps it.
    pub fn keep(&self, store: &dyn Store, days: &str) -> Result<()> {
        Ok(store.put(&object_name(days, &self.hash()), self.bytes.clone())?)
    }
}

fn object_name(days: &str, hash: &str) -> String {
    format!("{days}excluded/{hash}.ndjson")
}

impl Exclusions {
    /// Understands some lists.
    pub fn parse(lists: &[ExclusionList]) -> Result<Self> {
        let mut exclusions = Self::default();
        for list in lists {
            let lines = list.bytes.split(|byte| *byte == b'\n').enumerate();
            for (number, line) in lines.filter(|(_, line)| !line.trim_ascii().is_empty()) {
                exclusions.add(line).with_context(|| {
                    format!(
                        "line {} of the list `{}` is not one of {{\"click_id\":…}}, {{\"user_id\":…}}, {{\"ip_address\":…}}",
                        number + 1,
                        list.name
                    )
                })?;
            }
        }
        Ok(exclusions)
    }

    fn add(&mut self, line: &[u8]) -> Result<()> {
        match serde_json::from_slice(line)? {
            Line { click_id: Some(click), user_id: None, ip_address: None, .. } => {
                self.clicks.insert(click);
            }
            Line { click_id: None, user_id: Some(user), ip_address: None, .. } => {
                self.users.insert(user);
            }
            Line { click_id: None, user_id: None, ip_address: Some(text), .. } => {
                let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
                let net = net.map_err(|_| anyhow!("`{text}` is no address and no network"))?.trunc();
                let (network, length) = match net.network().to_canonical() {
                    // An IPv4 network in IPv6 clothes.
                    IpAddr::V4(network) if net.prefix_len() > 32 => (IpAddr::V4(network), net.prefix_len() - 96),
                    _ => (net.network(), net.prefix_len()),
                };
                let (kind, bits) = bits_of(network);
                self.networks.entry((kind, length)).or_default().insert(bits);
            }
            Line { .. } => bail!("it must have one of the three"),
        }
        Ok(())
    }

    /// Whether nothing is excluded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clicks.is_empty() && self.users.is_empty() && self.networks.is_empty()
    }

    /// Whether a click is.
    #[must_use]
    pub fn matches(&self, click: &Click<'_>) -> bool {
        self.users.contains(click.user_id)
            || click.click_id.is_some_and(|id| self.clicks.contains(id))
            || (click.click_id.is_none()
                && !self.clicks.is_empty()
                && self.clicks.contains(click.key().to_click_id().as_str()))
            || (!self.networks.is_empty() && click.ip_address.is_some_and(|address| self.has_address(address)))
    }

    /// The same, as a day's index is asked.
    #[must_use]
    pub fn for_index(&self) -> InvalidTraffic {
        let mut traffic = InvalidTraffic::default();
        self.clicks.iter().for_each(|click_id| traffic.add_click(click_id));
        self.users.iter().for_each(|user_id| traffic.add_user(user_id));
        if !self.networks.is_empty() {
            let networks = self.networks.clone();
            traffic.set_addresses(Arc::new(move |address| has(&networks, address)));
        }
        traffic
    }

    fn has_address(&self, text: &str) -> bool {
        let Ok(address) = text.parse::<IpAddr>() else { return false };
        // An IPv4 address in IPv6 clothes is that address.
        has(&self.networks, address.to_canonical())
    }
}

fn has(networks: &Networks, address: IpAddr) -> bool {
    let (kind, bits) = bits_of(address);
    let width = if kind { 128 } else { 32 };
    let of_kind = networks.iter().filter(|((of_net, _), _)| *of_net == kind);
    of_kind.into_iter().any(|((_, length), nets)| {
        let shift = width - u32::from(*length);
        let prefix = if shift >= 128 { 0 } else { bits >> shift << shift };
        nets.contains(&prefix)
    })
}

/// Whether it is an IPv6 address, and its bits.
fn bits_of(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (false, u128::from(address.to_bits())),
        IpAddr::V6(address) => (true, address.to_bits()),
    }
}

/// The lists of a new revision: those of the one before, with some added or replaced, and some dropped.
pub fn merged(before: Vec<ExclusionList>, added: Vec<ExclusionList>, dropped: &[String]) -> Result<Vec<ExclusionList>> {
    let mut lists: HashMap<String, ExclusionList> = before.into_iter().map(|list| (list.name.clone(), list)).collect();
    for name in dropped {
        if lists.remove(name).is_none() {
            let known = Vec::from_iter(lists.keys().cloned()).join(", ");
            bail!(
                "no list `{name}` is in use for this day (in use: {})",
                if known.is_empty() { "none" } else { &known }
            );
        }
    }
    let mut names = HashSet::new();
    if let Some(twice) = added.iter().find(|list| !names.insert(list.name.as_str())) {
        bail!("two lists are called `{}`: rename one of the files", twice.name);
    }
    lists.extend(added.into_iter().map(|list| (list.name.clone(), list)));
    let mut lists = Vec::from_iter(lists.into_values());
    lists.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(lists)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn list(text: &str) -> ExclusionList {
        ExclusionList { name: "bots".to_owned(), bytes: text.as_bytes().to_vec() }
    }

    #[test]
    fn clicks_are_excluded_by_id_user_and_network() {
        let text = "{\"click_id\":\"c-1\"}\n\n{\"user_id\":\"bot\",\"reason\":\"too fast\"}\n{\"ip_address\":\"203.0.113.7/24\"}\n\
                    {\"ip_address\":\"2001:db8::/32\"}\n{\"ip_address\":\"198.51.100.9\"}";
        let exclusions = Exclusions::parse(&[list(text)]).unwrap();
        let check = |click_id, user_id, ip_address, expect| {
            let click = Click { ad_id: "ad", user_id, timestamp: 1, click_id, ip_address, user_agent: None };
            assert_eq!(exclusions.matches(&click), expect, "{click:?}");
        };
        check(Some("c-1"), "u", None, true);
        check(Some("c-2"), "u", None, false);
        check(Some("c-2"), "bot", None, true);
        check(None, "u", Some("203.0.113.200"), true);
        check(None, "u", Some("::ffff:203.0.113.200"), true);
        check(None, "u", Some("203.0.114.1"), false);
        check(None, "u", Some("2001:db8:1::1"), true);
        check(None, "u", Some("2001:db9::1"), false);
        check(None, "u", Some("198.51.100.9"), true);
        check(None, "u", Some("198.51.100.8"), false);
        check(None, "u", Some("nowhere"), false);
        let clothed = Exclusions::parse(&[list("{\"ip_address\":\"::ffff:203.0.113.0/120\"}")]).unwrap();
        assert!(clothed.has_address("203.0.113.7") && !clothed.has_address("203.0.114.7"));
        assert!(Exclusions::parse(&[]).unwrap().is_empty());
        let all = Exclusions::parse(&[list("{\"ip_address\":\"0.0.0.0/0\"}")]).unwrap();
        assert!(all.has_address("192.0.2.1") && !all.has_address("2001:db8::1"));
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let check = |line: &str| {
            let error = Exclusions::parse(&[list(&format!("{{\"user_id\":\"u\"}}\n{line}"))]).unwrap_err();
            assert!(error.to_string().starts_with("line 2 of the list `bots`"), "{error}");
        };
        check("no json");
        check("{}");
        check("{\"user_id\":\"u\",\"click_id\":\"c\"}");
        check("{\"userid\":\"u\"}");
        check("{\"ip_address\":\"10.0.0.0/33\"}");
        check("[1]");
    }

    #[test]
    fn lists_are_replaced_and_dropped_by_name() {
        let named = |name: &str, text: &str| ExclusionList { name: name.to_owned(), bytes: text.into() };
        let merge = |added: Vec<ExclusionList>, dropped: &[String]| {
            merged(vec![named("a", "1"), named("b", "2")], added, dropped)
        };
        assert_eq!(merge(vec![named("b", "3")], &[]).unwrap(), [named("a", "1"), named("b", "3")]);
        assert_eq!(merge(vec![], &["a".to_owned()]).unwrap(), [named("b", "2")]);
        assert!(merge(vec![named("c", "1"), named("c", "2")], &[]).is_err());
        assert!(merge(vec![], &["c".to_owned()]).unwrap_err().to_string().contains("no list `c`"));
    }
}
