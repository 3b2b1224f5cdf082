//! What is billed for an ad from now on.

use std::collections::{BTreeMap, HashMap};

use super::super::index::IndexError;
use super::super::merkle::{Node, Tree, click_leaf, hex};
use super::super::outcome::OffsetRange;
use super::super::windows::{BilledWindow, Counted};
use super::RestatedAd;
use super::gather::Gathered;
use super::plan::{Plan, TreePlan};
use crate::UserSketch;

impl Plan<'_> {
    /// An ad, and the windows of it that were counted.
    pub(super) fn settle(
        &self,
        ad: u64,
        gathered: &HashMap<u64, Vec<Gathered>>,
    ) -> Result<(RestatedAd, Vec<BilledWindow>), IndexError> {
        let plan = self.ads.get(&ad).ok_or_else(|| IndexError::Contradiction("an ad is gone".to_owned()))?;
        let parts = gathered.get(&ad).map(Vec::as_slice).unwrap_or_default();
        let clicks = plan.before.clicks + plan.change;
        let mut users = UserSketch::new();
        let mut windows = Counted::default();
        let mut nodes: Vec<Node> = Vec::new();
        for part in parts {
            users.merge(&part.users);
            windows.merge(&part.windows);
            nodes.extend(part.clicks.iter().map(|key| Node { key: *key, hash: click_leaf(*key) }));
        }
        let mut leaves = nodes.len() as u64;
        if let TreePlan::Parts { same, .. } = &plan.tree {
            leaves += same.iter().map(|part| u64::from(part.clicks)).sum::<u64>();
            nodes.extend(same.iter().map(|part| part.node));
        }
        if i64::try_from(leaves) != Ok(clicks) {
            let ad_id = plan.before.ad_id;
            let what = format!("{ad_id}: {clicks} clicks by subtraction, but {leaves} one by one");
            return Err(IndexError::Contradiction(what));
        }
        for (region, key) in &plan.known {
            windows.window(*region, *key);
        }
        let restated = RestatedAd {
            at: plan.at,
            clicks,
            // A sketch may estimate a user more than there are clicks.
            unique_users: users.estimate().min(clicks.unsigned_abs()),
            root: root_of(nodes),
            invalid: ranges(&plan.invalid),
        };
        Ok((restated, windows.billed(plan.before.ad_id).collect()))
    }
}

fn root_of(mut nodes: Vec<Node>) -> Option<String> {
    nodes.sort_unstable();
    let mut tree = Tree::default();
    nodes.into_iter().for_each(|node| tree.push(node));
    tree.root().map(|root| hex(&root.hash))
}

fn ranges(places: &[(u32, u64)]) -> BTreeMap<u32, OffsetRange> {
    let mut ranges = BTreeMap::new();
    for &(partition, offset) in places {
        ranges.entry(partition).or_insert(OffsetRange { first: offset, last: offset, clicks: 0 }).add(offset);
    }
    ranges
}
