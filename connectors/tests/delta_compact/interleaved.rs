//! The job, two compactors, kills and faults in random orders, against a plain list of the rows.

use weir_connectors::delta::Table;
use weir_connectors::memory::Faults;

use crate::world::{Actor, World, dice, random, settings};

/// Orders for each table, with and without faults; `WEIR_TEST_SCHEDULES` runs others.
const ORDERS: u64 = 6;

const STEPS: u32 = 70;

fn check(table: Table, seed: u64, faults: Faults) -> (u64, u64, u64) {
    let random = &mut random(seed);
    let mut world = World::new(table, seed);
    world.append(60);
    world.commit(&world.calm()).unwrap();
    let stores = [1, 2, 3].map(|number| world.faulty(seed * 7 + number, faults));
    // Some so small that hardly two files fit into one.
    let target_bytes = [6_000, 20_000, 1 << 20][dice(random, 3) as usize];
    let mut actors = [0, 1].map(|number| Actor::new(table, stores[number].clone(), settings(target_bytes)));
    for step in 0..STEPS {
        let number = dice(random, 2) as usize;
        let what = match dice(random, 20) {
            0..4 => {
                world.append(u64::from(dice(random, 25)));
                "append"
            }
            4..7 => {
                let _unsure = world.commit(&stores[2]);
                "commit"
            }
            7 => {
                actors[number].crash();
                "crash"
            }
            8 => {
                actors[number].delete_replaced();
                "delete"
            }
            _ => {
                actors[number].step();
                "compact"
            }
        };
        world.check(&format!("step {step}, {what}"));
    }
    world.commit(&world.calm()).unwrap();
    world.check("all committed");
    world.check_lineage();
    let sum = |of: fn(&Actor) -> u64| actors.iter().map(of).sum();
    (sum(|actor| actor.committed), sum(|actor| actor.dropped), sum(|actor| actor.failed))
}

/// How many steps have failed.
fn check_all(faults: Faults) -> u64 {
    let mut all_failed = 0;
    let orders = std::env::var("WEIR_TEST_SCHEDULES").map_or(ORDERS, |text| text.parse().unwrap());
    for table in [Table::Agg, Table::Late, Table::Raw] {
        let mut sums = (0, 0, 0);
        for seed in 0..orders {
            let (committed, dropped, failed) = check(table, seed, faults);
            sums = (sums.0 + committed, sums.1 + dropped, sums.2 + failed);
        }
        println!("{table:?}: {} merges committed, {} dropped, {} steps failed", sums.0, sums.1, sums.2);
        assert!(sums.0 > orders && sums.1 > 0, "{table:?}: nothing came of it: {sums:?}");
        all_failed += sums.2;
    }
    all_failed
}

#[test]
fn rows_stay_once_whatever_comes_between() {
    assert_eq!(check_all(Faults::default()), 0, "nothing fails without faults");
}

#[test]
fn rows_stay_once_with_faults_of_the_store() {
    let failed = check_all(Faults { before_per_mille: 10, after_per_mille: 40, repeated_per_mille: 40 });
    assert!(failed > 0);
}

/// Threads instead of steps, so that two versions are put at the same instant.
#[test]
fn two_compactors_at_once_beside_a_job() {
    for seed in 0..6 {
        let mut world = World::new(Table::Agg, 1000 + seed);
        for _ in 0..20 {
            world.append(10);
        }
        world.commit(&world.calm()).unwrap();
        let stores = [world.calm(), world.calm()];
        std::thread::scope(|scope| {
            let compactors = stores.map(|store| {
                scope.spawn(move || {
                    let mut actor = Actor::new(Table::Agg, store, settings(1 << 20));
                    for _ in 0..200 {
                        actor.step();
                    }
                    assert_eq!(actor.failed, 0);
                    (actor.committed, actor.dropped)
                })
            });
            for _ in 0..20 {
                world.append(10);
                world.commit(&world.calm()).unwrap();
                world.check("beside two compactors");
            }
            let [(one, _), (other, _)] = compactors.map(|compactor| compactor.join().unwrap());
            assert!(one + other > 0, "seed {seed}");
        });
        world.check("after two compactors");
        world.check_lineage();
    }
}
