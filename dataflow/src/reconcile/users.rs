//! Operator `users`: the users of each ad, one by one.

use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::read::UserUpdate;
use super::settle::AdPart;

/// Counts them. What belongs to one ad may come in parts.
pub(super) fn count<'scope>(users: StreamVec<'scope, u32, UserUpdate>) -> StreamVec<'scope, u32, AdPart> {
    let users: VecCollection<'scope, u32, (u64, (u64, u64)), i32> = users.as_collection();
    users.consolidate().inner.unary(Pipeline, "users of each ad", |_, _| {
        move |input, output| {
            input.for_each(|time, users| {
                let mut session = output.session(&time);
                for of_ad in users.chunk_by(|((ad, _), _, _), ((other, _), _, _)| ad == other) {
                    if let Some(((ad, _), _, _)) = of_ad.first() {
                        session.give(AdPart::Users { ad: *ad, users: of_ad.len() as u64 });
                    }
                }
            });
        }
    })
}
