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
use tokio::task::JoinSet;

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
    let mut clients = JoinSet::new();
    for index in 0..world.plan.clients {
        clients.spawn(Worker::new(&world, index).work());
    }
    // A root that is broken may never be served again, so nobody is waited for then.
    tokio::select! {
        biased;
        () = world.broken() => {}
        judged = work_and_judge(&world, &mut clients) => {
            if let Err(broken) = judged {
                world.violated(broken);
            }
        }
    }
    clients.shutdown().await;
    world.end();
    for server in servers {
        server.await.expect("a server's keeper panicked");
    }
    world.count(|counts| counts.seeds += 1);
    Run { counts: world.counts(), trace: world.trace.lines(), violation: world.violation() }
}

/// Lets the clients do their work, and judges what they saw.
async fn work_and_judge(world: &Arc<World>, clients: &mut JoinSet<Worker>) -> Result<(), String> {
    let mut workers = Vec::new();
    while let Some(worker) = clients.join_next().await {
        workers.push(worker.expect("a client panicked"));
    }
    workers.sort_by_key(Worker::index);
    judge::judge(world, workers).await
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
