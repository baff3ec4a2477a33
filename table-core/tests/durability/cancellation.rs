//! C16, C17: a caller that goes away at any await. What it asked for is done whole or not at all, the table in memory is the
//! fold of its log, the next change goes through, and the same append sent again is there once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use table_core::append::Receipt;
use table_core::storage::faults::SimDisk;
use table_core::storage::layout;
use table_core::{Catalog, Decision};

use crate::model::{Facts, Row};
use crate::root::{How, Segments, append, open, read, spec, staged};

/// A future that is given up at its n-th poll, unless it is ready by then.
struct Limited<F> {
    future: Option<Pin<Box<F>>>,
    left: u32,
}

impl<F: Future> Limited<F> {
    fn new(future: F, polls: u32) -> Self {
        Self { future: Some(Box::pin(future)), left: polls }
    }
}

impl<F: Future> Future for Limited<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let left = self.left;
        let polled = match &mut self.future {
            Some(future) if left > 0 => Some(future.as_mut().poll(context)),
            _ => None,
        };
        match polled {
            Some(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Some(Poll::Pending) if left > 1 => {
                self.left -= 1;
                Poll::Pending
            }
            _ => {
                self.future = None;
                Poll::Ready(None)
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Append { is_large: bool, batches: i64 },
    Skip { is_large: bool },
    Flush,
    Checkpoint,
    Create,
    Drop,
}

const CHANGES: [Change; 9] = [
    Change::Append { is_large: false, batches: 1 },
    Change::Append { is_large: false, batches: 3 },
    Change::Append { is_large: true, batches: 1 },
    Change::Append { is_large: true, batches: 2 },
    Change::Skip { is_large: false },
    Change::Flush,
    Change::Checkpoint,
    Change::Create,
    Change::Drop,
];

fn row(n: i64) -> Row {
    Row { entity: 0, n, tag: n }
}

fn keyed(is_large: bool, skips: bool) -> How {
    How { is_large, skips, key: Some("again".to_owned()) }
}

/// What the change appends.
fn rows_of(change: Change) -> Vec<Row> {
    match change {
        Change::Append { batches, .. } => (0..batches).map(|batch| row(100 + batch)).collect(),
        // The first of them is owned.
        Change::Skip { .. } => vec![row(1), row(100)],
        _ => Vec::new(),
    }
}

/// Makes the change; appends say what they became.
async fn make(catalog: Arc<Catalog>, change: Change) -> Option<Receipt> {
    let table = catalog.table("t").await.unwrap();
    match change {
        Change::Append { is_large, .. } => {
            let rows = rows_of(change);
            let (first, rest) = rows.split_first().unwrap();
            let mut append = staged(&table, &[*first], &keyed(is_large, false)).await.unwrap();
            for row in rest {
                append.write(crate::root::batch(&[*row], is_large)).await.unwrap();
            }
            return Some(append.commit().await.unwrap());
        }
        Change::Skip { is_large } => {
            return Some(append(&table, &rows_of(change), &keyed(is_large, true)).await.unwrap());
        }
        Change::Flush => {
            table.flush().await.unwrap();
        }
        Change::Checkpoint => {
            table.checkpoint().await.unwrap();
        }
        Change::Create => {
            catalog.create_table("new", spec(), None, "").await.unwrap();
        }
        Change::Drop => catalog.drop_table("gone", "").await.unwrap(),
    }
    None
}

/// A root with a table of two hot rows and a segment, and a table to be dropped.
async fn filled(disk: &SimDisk) -> Arc<Catalog> {
    let catalog = open(disk, 1).await.unwrap();
    let table = catalog.create_table("t", spec(), None, "").await.unwrap();
    append(&table, &[row(50)], &How { is_large: true, ..How::default() }).await.unwrap();
    append(&table, &[row(1), row(20)], &How::default()).await.unwrap();
    catalog.create_table("gone", spec(), None, "").await.unwrap();
    catalog
}

async fn facts(disk: &SimDisk, catalog: &Arc<Catalog>) -> Facts {
    read(disk, catalog, &mut Segments::default()).await.unwrap()
}

/// Makes the change with a caller that goes away at its n-th poll. Says whether it was ready by then and whether it was done.
async fn cancelled(
    disk: &SimDisk,
    change: Change,
    polls: u32,
    before: &Facts,
    after: &Facts,
) -> (bool, bool) {
    let label = format!("{change:?}, gone at poll {polls}");
    let catalog = filled(disk).await;
    let is_ready = Limited::new(make(Arc::clone(&catalog), change), polls).await.is_some();
    // Whatever was queued is done before these are.
    let table = catalog.table("t").await.unwrap();
    table.commit(|_| Ok(Decision::Nothing)).await.unwrap();
    catalog.create_table("probe", spec(), None, "").await.unwrap();
    catalog.drop_table("probe", "").await.unwrap();

    let found = facts(disk, &catalog).await;
    let is_done = found == *after;
    assert!(is_done || (found == *before && !is_ready), "{label}: {found:?}");
    let folded = facts(disk, &open(disk, 2).await.unwrap()).await;
    assert_eq!(found, folded, "{label}: the table in memory is not the fold of its log");

    let table = catalog.table("t").await.unwrap();
    let version = table.snapshot().version;
    let is_append = matches!(change, Change::Append { .. } | Change::Skip { .. });
    if is_append {
        let receipt = make(Arc::clone(&catalog), change).await.unwrap();
        assert_eq!(receipt.repeated, is_done, "{label}: {receipt:?}");
    }
    append(&table, &[row(-1000)], &How::default()).await.unwrap();
    let appends = 1 + u64::from(is_append && !is_done);
    assert_eq!(table.snapshot().version.0, version.0 + appends, "{label}");
    (is_ready, is_done)
}

fn is_staging(path: &str) -> bool {
    layout::is_staging(layout::file_name(path))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

#[test]
fn a_caller_that_goes_away_at_any_await_leaves_all_or_nothing() {
    let (mut tries, mut undone, mut finished_alone) = (0, 0, 0);
    for change in CHANGES {
        let (before, after) = runtime().block_on(async {
            let disk = SimDisk::new();
            let catalog = filled(&disk).await;
            let before = facts(&disk, &catalog).await;
            make(Arc::clone(&catalog), change).await;
            (before, facts(&disk, &catalog).await)
        });
        for polls in 0.. {
            let disk = SimDisk::new();
            let runtime = runtime();
            let (is_ready, is_done) =
                runtime.block_on(cancelled(&disk, change, polls, &before, &after));
            // Waits for what still runs on the blocking pool.
            drop(runtime);
            let left: Vec<_> = disk.files().into_iter().filter(|path| is_staging(path)).collect();
            assert!(left.is_empty(), "{change:?}, gone at poll {polls}: {left:?} are left");
            tries += 1;
            undone += u32::from(!is_done);
            finished_alone += u32::from(is_done && !is_ready && before != after);
            if is_ready {
                break;
            }
        }
    }
    println!("{tries} tries, {undone} not done, {finished_alone} finished without their caller");
    assert!(undone >= 9 && finished_alone >= 6, "{undone} and {finished_alone}");
}
