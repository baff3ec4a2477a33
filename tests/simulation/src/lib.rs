//! The whole service on one thread, in virtual time: several clients, servers that crash, a storage that loses answers, and
//! clocks that jump. One seed decides everything, so a seed that breaks a promise breaks it again.
//!
//! What runs is the product: the catalog, the append, commit and read paths of `table-core`, and above them the Flight service
//! over connections in memory. Simulated are the storage (`store`), wall clocks and ids (`clock`), time (`time`) and the
//! network (`cable`). SQL is left out: DataFusion brings threads of its own. What clients saw is judged by the history
//! checker of the end-to-end tests, and the rest by `judge`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "all of it is a test"
)]

pub mod cable;
pub mod client;
pub mod clock;
pub mod counts;
pub mod data;
pub mod judge;
pub mod server;
pub mod store;
pub mod time;
pub mod trace;
pub mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use table_core::{Catalog, CatalogOptions};

pub use counts::Counts;
pub use store::StoreCounts;
pub use trace::difference;

use crate::client::Worker;
use crate::clock::SimClock;
use crate::store::{Life, StoreHandle};
use crate::time::VirtualTime;
use crate::world::{Plan, TABLE, World};

/// What one run gave.
#[derive(Debug)]
pub struct Run {
    /// What it reached.
    pub counts: Counts,
    /// What happened, in order.
    pub trace: Vec<String>,
    /// The promise that was broken, if one was.
    pub violation: Option<String>,
}

/// Runs a seed.
pub fn run(seed: u64) -> Run {
    let plan = Plan::draw(seed);
    let ran = catch_unwind(AssertUnwindSafe(|| time::run(|time| simulate(seed, plan, time))));
    ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let violation = Some(text.unwrap_or_else(|| "a panic".to_owned()));
        Run { counts: Counts::default(), trace: Vec::new(), violation }
    })
}

async fn simulate(seed: u64, plan: Plan, time: VirtualTime) -> Run {
    let world = World::new(seed, time, plan);
    if !world.plan.starts_empty {
        make_table(&world).await;
    }
    world.remote.set_weather(world.plan.weather);
    let servers: Vec<_> = (0..world.addresses.len())
        .map(|index| tokio::spawn(server::keep_running(Arc::clone(&world), index)))
        .collect();
    if world.plan.outages {
        tokio::spawn(Arc::clone(&world).take_storage_down_now_and_then());
    }
    let clients: Vec<_> = (0..world.plan.clients)
        .map(|index| tokio::spawn(Worker::new(&world, index).work()))
        .collect();
    let mut workers = Vec::new();
    for client in clients {
        workers.push(client.await.expect("a client panicked"));
    }
    if world.violation().is_none()
        && let Err(broken) = judge::judge(&world, workers).await
    {
        world.violated(broken);
    }
    world.end();
    for server in servers {
        server.await.expect("a server's keeper panicked");
    }
    world.count(|counts| counts.seeds += 1);
    Run { counts: world.counts(), trace: world.trace.lines(), violation: world.violation() }
}

/// The root and the table, made by a server of an untroubled day.
async fn make_table(world: &Arc<World>) {
    let life = Life::default();
    let store = StoreHandle::new(&world.remote, "first".to_owned(), life.clone());
    let clock = Arc::new(SimClock::new(world.time.clone(), world.seed_of("first")));
    let access = world.plan.access();
    let options = CatalogOptions { clock, access, ..CatalogOptions::default() };
    let catalog = Catalog::over(store, options).await.unwrap();
    catalog.create_table(TABLE, data::spec(), None, "").await.unwrap();
    life.end();
}
