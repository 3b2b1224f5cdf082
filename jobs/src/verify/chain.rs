//! The chain of manifests: without gaps, each naming the hash of the one before it, and nothing in it going back.

use anyhow::{Context, Result};
use weir_checkpoints::{Manifest, Names, Sequence, Store};

use super::listed::Listed;
use super::report::{CheckResult, Rule};

/// A manifest, and the hash of its bytes.
pub(super) type Hashed = (Manifest, String);

/// The chain, read and checked.
pub(super) struct Chain {
    /// The number of the first manifest that retention has left.
    pub(super) first: Sequence,
    pub(super) manifests: u64,
    /// The files that they list.
    pub(super) listed: Listed,
    pub(super) checks: Vec<CheckResult>,
}

/// The newest manifest; none before the job's first attempt.
pub(super) fn newest(store: &dyn Store, names: &Names) -> Result<Option<Hashed>> {
    let objects = store.list(&names.manifests())?;
    let numbers = objects.iter().rev().filter_map(|object| names.sequence_of(&object.name));
    for number in numbers {
        if let Some(found) = get(store, names, number)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

impl Chain {
    /// Reads every manifest that retention has left, from `since` up to the newest.
    pub(super) fn read(store: &dyn Store, names: &Names, since: Option<Sequence>, newest: &Manifest) -> Result<Self> {
        let mut chain = Self { first: newest.sequence, manifests: 0, listed: Listed::default(), checks: Vec::new() };
        let mut rules = Rules::new();
        let mut before: Option<Hashed> = None;
        let objects = store.list(&names.manifests())?;
        for number in objects.iter().filter_map(|object| names.sequence_of(&object.name)) {
            if number > newest.sequence {
                break;
            }
            if since.is_some_and(|since| number < since) {
                continue;
            }
            let (manifest, hash) = match get(store, names, number)? {
                Some(found) => found,
                // Retention deletes the oldest ones while a job runs.
                None if before.is_none() => continue,
                None => anyhow::bail!("manifest {} has vanished", names.manifest(number)),
            };
            rules.alone(&manifest);
            match &before {
                Some((earlier, earlier_hash)) => rules.step(earlier, earlier_hash, &manifest),
                None => chain.first = number,
            }
            chain.manifests += 1;
            chain.listed.add(&manifest)?;
            before = Some((manifest, hash));
        }
        chain.checks = rules.done();
        Ok(chain)
    }

    /// Takes in what manifests list that were written since.
    pub(super) fn follow(&mut self, store: &dyn Store, names: &Names, newest: &Manifest) -> Result<()> {
        let mut number = newest.sequence.next();
        while let Some((manifest, _)) = get(store, names, number)? {
            self.listed.add(&manifest)?;
            number = number.next();
        }
        Ok(())
    }
}

fn get(store: &dyn Store, names: &Names, number: Sequence) -> Result<Option<Hashed>> {
    let name = names.manifest(number);
    let Some(bytes) = store.get(&name)? else { return Ok(None) };
    let manifest = Manifest::parse(&name, &bytes).with_context(|| format!("the chain stops at {name}"))?;
    Ok(Some((manifest, Manifest::hash(&bytes))))
}

struct Rules {
    conserved: Rule,
    linked: Rule,
    forward: Rule,
    covered: Rule,
}

impl Rules {
    fn new() -> Self {
        Self {
            conserved: Rule::new("every record read is counted, duplicate, late, future or rejected"),
            linked: Rule::new("the manifests form one chain without gaps"),
            forward: Rule::new("epoch, watermark and closed windows never go back"),
            covered: Rule::new("each checkpoint goes on where the one before it stopped"),
        }
    }

    fn alone(&mut self, manifest: &Manifest) {
        for (partition, cut) in &manifest.partitions {
            let totals = cut.totals;
            let finding = || format!("checkpoint {}, partition {partition}: {totals:?}", manifest.sequence);
            self.conserved.check(totals.conserved(), finding);
        }
        if let Some(origin) = manifest.origin.as_ref().filter(|_| manifest.sequence == Sequence(0)) {
            self.forward.check(manifest.epoch == origin.epoch, || {
                format!("the fork begins at epoch {}, and comes from epoch {}", manifest.epoch, origin.epoch)
            });
        }
    }

    fn step(&mut self, before: &Manifest, before_hash: &str, manifest: &Manifest) {
        let number = manifest.sequence;
        self.linked.check(number == before.sequence.next(), || format!("{number} follows {}", before.sequence));
        self.linked.check(manifest.previous.as_deref() == Some(before_hash), || {
            format!("{number} names another predecessor than {}", before.sequence)
        });
        self.linked.check(manifest.origin == before.origin, || {
            format!("{number} says that the job comes from elsewhere than {} says", before.sequence)
        });
        self.linked.check(manifest.attempt >= before.attempt, || {
            format!("{number} is of attempt {}, after attempt {}", manifest.attempt, before.attempt)
        });
        self.forward.check(manifest.epoch >= before.epoch, || {
            format!("{number} goes back from epoch {} to {}", before.epoch, manifest.epoch)
        });
        self.forward.check(manifest.watermark_ms >= before.watermark_ms, || {
            format!("{number}: watermark {:?} after {:?}", manifest.watermark_ms, before.watermark_ms)
        });
        self.forward.check(manifest.closed_until_ms >= before.closed_until_ms, || {
            format!("{number}: closed until {:?} after {:?}", manifest.closed_until_ms, before.closed_until_ms)
        });
        self.partitions(before, manifest);
    }

    fn partitions(&mut self, before: &Manifest, manifest: &Manifest) {
        let number = manifest.sequence;
        for (partition, earlier) in &before.partitions {
            let Some(cut) = manifest.partitions.get(partition) else {
                self.covered.check(false, || format!("{number} has lost partition {partition}"));
                continue;
            };
            let (from, to) = (earlier.position.next_offset, cut.position.next_offset);
            let read = cut.totals.read.checked_sub(earlier.totals.read);
            // Records take up offsets: more of them than before means an offset further on.
            let fits = read.is_some_and(|read| if read == 0 { from <= to } else { from < to });
            self.covered.check(fits, || {
                format!(
                    "{number}, partition {partition}: offset {from} to {to}, {} records after {}",
                    cut.totals.read, earlier.totals.read
                )
            });
        }
    }

    fn done(self) -> Vec<CheckResult> {
        [self.conserved, self.linked, self.forward, self.covered].into_iter().map(Rule::done).collect()
    }
}
