//! From items to a group for the log: each item is decoded by the job's own decoder and written down, and all of them are
//! claimed together.
//!
//! ```text
//!   item ──decode──▶ no click: rejected, with the reason
//!            └─compose──▶ Group ──claim──▶ Taken: duplicate, out of the group
//!                                   ├────▶ Twin: out of the group; wait for the other request
//!                                   └────▶ Fresh ──▶ log
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
    group: Group,
    keys: Vec<ClickKey>,
}

/// What an item is.
pub(super) enum Item {
    /// A click. Whether it is a new one is found out with all others.
    Click,
    /// It is no click.
    Rejected(Rejection),
    /// It has another id than the request says.
    OtherId,
}

/// What an intake comes to.
pub(super) struct Collected {
    /// The clicks that are new.
    pub(super) group: Group,
    /// The keys of the group's records. Each must be settled.
    pub(super) keys: Vec<ClickKey>,
    /// How many were taken before.
    pub(super) duplicates: u64,
    /// Other requests, or items before in the same one, that bring the rest.
    pub(super) twins: Vec<oneshot::Receiver<bool>>,
}

impl<'r> Intake<'r> {
    /// An empty one, with room for so many items of so many bytes.
    pub(super) fn new(sender: &'r Sender<'r>, recent: &'r Recent, items: usize, bytes: usize) -> Self {
        Self {
            sender,
            recent,
            group: Group::with_capacity(items, bytes + items * ADDITIONS_BYTES),
            keys: Vec::with_capacity(items),
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
        let additions = Additions {
            click_id: if click.click_id.is_none() { Some(id) } else { None },
            ip_address: if click.ip_address.is_none() { Some(&self.sender.ip_address) } else { None },
            user_agent: if click.user_agent.is_none() { self.sender.user_agent } else { None },
        };
        self.group.push(click.ad_id, |record| compose(item, &additions, record));
        self.keys.push(key);
        Item::Click
    }

    /// Claims the clicks, and keeps those that are new.
    pub(super) fn finish(self) -> Collected {
        let Self { recent, mut group, mut keys, .. } = self;
        let (mut duplicates, mut twins, mut others) = (0, Vec::new(), Vec::new());
        recent.claim_all(&keys, recent.now(), |index, claim| {
            match claim {
                Claim::Fresh => return,
                Claim::Taken => duplicates += 1,
                Claim::Twin(outcome) => twins.push(outcome),
            }
            others.push(index);
        });
        if !others.is_empty() {
            others.sort_unstable();
            let is_new = |index: &usize| others.binary_search(index).is_err();
            group.retain(|index| is_new(&index));
            let mut index = 0..;
            keys.retain(|_| index.next().as_ref().is_some_and(is_new));
        }
        Collected { group, keys, duplicates, twins }
    }
}
