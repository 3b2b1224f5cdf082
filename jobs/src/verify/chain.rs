//! The chain of manifests: without gaps, each naming the hash of the one before it, and nothing in it going back.

use anyhow::{Context, Result, bail};
use weir_checkpoints::{Manifest, Names, Store};

use super::report::{CheckResult, Rule};

/// The chain, read and checked.
pub(super) struct Chain {
    pub(super) newest: Manifest,
    pub(super) manifests: u64,
    pub(super) checks: Vec<CheckResult>,
}

impl Chain {
    /// Reads every manifest that retention has left.
    pub(super) fn read(store: &dyn Store, names: &Names) -> Result<Self> {
        let mut rules = Rules::new();
        let mut before: Option<(Manifest, String)> = None;
        let mut manifests = 0;
        for object in store.list(&names.manifests())? {
            if names.sequence_of(&object.name).is_none() {
                continue;
            }
            let bytes = store.get(&object.name)?.with_context(|| format!("manifest {} has vanished", object.name))?;
            let manifest = Manifest::parse(&object.name, &bytes)?;
            rules.alone(&manifest);
            if let Some((earlier, hash)) = &before {
                rules.step(earlier, hash, &manifest);
            }
            manifests += 1;
            before = Some((manifest, Manifest::hash(&bytes)));
        }
        let Some((newest, _)) = before else {
            bail!("job {} has no checkpoint: it has not committed anything yet", names.job());
        };
        Ok(Self { newest, manifests, checks: rules.done() })
    }
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
    }

    fn step(&mut self, before: &Manifest, before_hash: &str, manifest: &Manifest) {
        let number = manifest.sequence;
        self.linked.check(number == before.sequence.next(), || format!("{number} follows {}", before.sequence));
        self.linked.check(manifest.previous.as_deref() == Some(before_hash), || {
            format!("{number} names another predecessor than {}", before.sequence)
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
