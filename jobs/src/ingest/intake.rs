//! From items to a group for the log: each item is decoded by the job's own decoder, claimed, and written down.
//!
//! ```text
//!   item ──decode──▶ no click: rejected, with the reason
//!            └─claim──▶ Taken: duplicate
//!                 ├───▶ Twin: wait for the other request
//!                 └───▶ Fresh ──compose──▶ Group ──▶ log
//! ```
//!
//! A click without an id gets the one that its fields give as they were sent, before anything is filled in: when it is sent
//! again from another address it is the same click.

use std::cell::RefCell;

use tokio::sync::oneshot;
use weir_connectors::log::Group;
use weir_dataflow::{Click, ClickKey, Decoder, Rejection};

use super::compose::{Additions, compose};
use super::recent::{Claim, Recent};
use super::sender::Sender;

/// What the additions to a click take, about.
const ADDITIONS_BYTES: usize = 256;

thread_local! {
    /// It owns large buffers, and no request holds it while it waits.
    static DECODER: RefCell<Decoder> = RefCell::default();
}

/// Clicks of one request that go into the log together.
pub(super) struct Intake<'r> {
    sender: &'r Sender<'r>,
    recent: &'r Recent,
    now: u32,
    group: Group,
    keys: Vec<ClickKey>,
    duplicates: u64,
    twins: Vec<oneshot::Receiver<bool>>,
}

/// What became of an item.
pub(super) enum Item {
    /// It is in the group.
    Fresh,
    /// It was taken before.
    Duplicate,
    /// Another request, or an item before this one, brings it.
    Twin,
    /// It is no click.
    Rejected(Rejection),
    /// It has another id than the request says.
    OtherId,
}

/// What an intake comes to.
pub(super) struct Collected {
    pub(super) group: Group,
    /// The keys of the group's records. Each must be settled.
    pub(super) keys: Vec<ClickKey>,
    pub(super) duplicates: u64,
    pub(super) twins: Vec<oneshot::Receiver<bool>>,
}

impl<'r> Intake<'r> {
    /// An empty one, with room for so many items of so many bytes.
    pub(super) fn new(sender: &'r Sender<'r>, recent: &'r Recent, items: usize, bytes: usize) -> Self {
        Self {
            sender,
            recent,
            now: recent.now(),
            group: Group::with_capacity(items, bytes + items * ADDITIONS_BYTES),
            keys: Vec::with_capacity(items),
            duplicates: 0,
            twins: Vec::new(),
        }
    }

    /// Takes an item. `with_id` is given the click's id, if it is one.
    pub(super) fn take(&mut self, item: &[u8], with_id: impl FnOnce(&str)) -> Item {
        DECODER.with_borrow_mut(|decoder| match decoder.decode(Some(item.trim_ascii())) {
            Ok(click) => self.take_click(item, &click, with_id),
            Err(rejection) => Item::Rejected(rejection),
        })
    }

    fn take_click(&mut self, item: &[u8], click: &Click<'_>, with_id: impl FnOnce(&str)) -> Item {
        let given = match (click.click_id, self.sender.idempotency_key) {
            (Some(id), Some(key)) if id != key => return Item::OtherId,
            (id, key) => id.or(key),
        };
        let key = given.map_or_else(|| click.key(), ClickKey::of);
        let derived = if given.is_none() { Some(key.to_click_id()) } else { None };
        let id = given.or(derived.as_deref()).unwrap_or_default();
        with_id(id);
        match self.recent.claim(key, self.now) {
            Claim::Taken => {
                self.duplicates += 1;
                return Item::Duplicate;
            }
            Claim::Twin(outcome) => {
                self.twins.push(outcome);
                return Item::Twin;
            }
            Claim::Fresh => {}
        }
        let additions = Additions {
            click_id: if click.click_id.is_none() { Some(id) } else { None },
            ip_address: if click.ip_address.is_none() { Some(&self.sender.ip_address) } else { None },
            user_agent: if click.user_agent.is_none() { self.sender.user_agent } else { None },
        };
        self.group.push(click.ad_id, |record| compose(item, &additions, record));
        self.keys.push(key);
        Item::Fresh
    }

    pub(super) fn finish(self) -> Collected {
        Collected { group: self.group, keys: self.keys, duplicates: self.duplicates, twins: self.twins }
    }
}
