//! From a recount to rows: what is billed, and the entries that lead there from what was billed before.
//!
//! ```text
//!   first revision:   streamed ─ late, future, duplicate, … ─▶ billed        an entry for each reason
//!   each later one:   billed before ─ what each reason adds since ─▶ billed
//! ```

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use weir_connectors::delta::{BilledAd, CorrectedAd};
use weir_dataflow::reconcile::{AdDay, Reason};

/// What all revisions of a day so far say.
#[derive(Debug, Default)]
pub struct Before {
    /// What was billed; none before the first revision.
    pub billed: Option<Vec<BilledAd>>,
    /// All entries, oldest first.
    pub entries: Vec<CorrectedAd>,
}

/// The rows of a new revision.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// What is billed, by ad.
    pub billed: Vec<BilledAd>,
    /// The entries to be added.
    pub entries: Vec<CorrectedAd>,
}

impl Ledger {
    /// The rows that follow from a recount.
    pub fn of(ads: &[AdDay], before: &Before) -> Result<Self> {
        let mut known = Known::of(before);
        let mut ledger = Self::default();
        for ad in ads {
            let known = known.0.remove(ad.ad_id.as_str()).unwrap_or_default();
            ledger.ad(ad, &known)?;
        }
        if let Some((ad_id, _)) = known.0.first_key_value() {
            bail!("{ad_id} was billed for, and is gone: clicks have vanished from the archive");
        }
        Ok(ledger)
    }

    /// Whether it says nothing that was not said before.
    #[must_use]
    pub fn is_nothing_new(&self, before: &Before) -> bool {
        self.entries.is_empty() && before.billed.as_ref() == Some(&self.billed)
    }

    fn ad(&mut self, ad: &AdDay, known: &KnownAd) -> Result<()> {
        let streamed = ad.streamed;
        if known.streamed.is_some_and(|before| before != streamed) {
            bail!(
                "{}: the stream had counted {} clicks when the day was closed, and {streamed} now: rows of closed windows were \
                 changed in clicks_agg",
                ad.ad_id,
                known.streamed.unwrap_or_default()
            );
        }
        let mut figure = known.billed.unwrap_or(streamed);
        for reason in Reason::ALL {
            let correction = ad.corrections.iter().find(|correction| correction.reason == reason);
            let delta = correction.map_or(0, |correction| correction.delta)
                - known.deltas.get(reason.as_str()).copied().unwrap_or(0);
            if delta == 0 {
                continue;
            }
            let offsets = correction.map(|correction| serde_json::to_string(&correction.offsets)).transpose()?;
            self.entries.push(CorrectedAd {
                ad_id: ad.ad_id.clone(),
                streamed: figure,
                recounted: figure + delta,
                reason: reason.as_str().to_owned(),
                offsets: offsets.unwrap_or_else(|| "{}".to_owned()),
            });
            figure += delta;
        }
        if figure != ad.clicks {
            bail!("{}: the ledger leads to {figure} clicks, the recount to {}", ad.ad_id, ad.clicks);
        }
        self.billed.push(BilledAd {
            ad_id: ad.ad_id.clone(),
            click_count: ad.clicks,
            unique_users: ad.unique_users as i64,
            clicks_root: ad.root.clone(),
        });
        Ok(())
    }
}

/// What is known of each ad.
struct Known<'a>(BTreeMap<&'a str, KnownAd>);

#[derive(Default)]
struct KnownAd {
    streamed: Option<i64>,
    billed: Option<i64>,
    deltas: BTreeMap<String, i64>,
}

impl<'a> Known<'a> {
    fn of(before: &'a Before) -> Self {
        let mut ads: BTreeMap<&str, KnownAd> = BTreeMap::new();
        for entry in &before.entries {
            let known = ads.entry(&entry.ad_id).or_default();
            *known.deltas.entry(entry.reason.clone()).or_default() += entry.recounted - entry.streamed;
        }
        for row in before.billed.iter().flatten() {
            let known = ads.entry(&row.ad_id).or_default();
            known.billed = Some(row.click_count);
            known.streamed = Some(row.click_count - known.deltas.values().sum::<i64>());
        }
        Self(ads)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use weir_dataflow::reconcile::Correction;

    use super::*;

    fn ad(ad_id: &str, streamed: i64, corrections: &[(Reason, i64)]) -> AdDay {
        let clicks = streamed + corrections.iter().map(|(_, delta)| delta).sum::<i64>();
        let corrections =
            corrections.iter().map(|&(reason, delta)| Correction { reason, delta, offsets: BTreeMap::new() }).collect();
        AdDay { ad_id: ad_id.to_owned(), streamed, clicks, corrections, ..AdDay::default() }
    }

    fn next(before: &mut Before, ads: &[AdDay]) -> Ledger {
        let ledger = Ledger::of(ads, before).unwrap();
        before.entries.extend(ledger.entries.iter().cloned());
        before.billed = Some(ledger.billed.clone());
        ledger
    }

    fn lines(ledger: &Ledger) -> Vec<String> {
        let line = |row: &CorrectedAd| format!("{} {} {}→{}", row.ad_id, row.reason, row.streamed, row.recounted);
        ledger.entries.iter().map(line).collect()
    }

    #[test]
    fn each_revision_leads_from_the_figure_before_to_the_next() {
        let mut before = Before::default();
        let first = next(&mut before, &[ad("a", 10, &[(Reason::Late, 2), (Reason::Duplicate, -1)]), ad("b", 5, &[])]);
        assert_eq!(lines(&first), ["a late 10→12", "a duplicate 12→11"]);
        assert_eq!(first.billed.iter().map(|row| row.click_count).collect::<Vec<_>>(), [11, 5]);

        let late = [(Reason::Late, 3), (Reason::Duplicate, -1), (Reason::InvalidTraffic, -4)];
        let again = [ad("a", 10, &late), ad("b", 5, &[]), ad("c", 0, &[(Reason::Late, 1)])];
        assert_eq!(lines(&next(&mut before, &again)), ["a late 11→12", "a invalid_traffic 12→8", "c late 0→1"]);

        let same = Ledger::of(&again, &before).unwrap();
        assert!(same.is_nothing_new(&before));

        let restored = [ad("a", 10, &[(Reason::Late, 3), (Reason::Duplicate, -1)]), again[1].clone(), again[2].clone()];
        assert_eq!(lines(&next(&mut before, &restored)), ["a invalid_traffic 8→12"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut before = Before::default();
        next(&mut before, &[ad("a", 10, &[(Reason::Late, 2)])]);
        let changed = Ledger::of(&[ad("a", 11, &[(Reason::Late, 2)])], &before).unwrap_err();
        assert!(changed.to_string().contains("rows of closed windows were changed"), "{changed}");
        let vanished = Ledger::of(&[], &before).unwrap_err();
        assert!(vanished.to_string().contains("vanished"), "{vanished}");
    }
}
