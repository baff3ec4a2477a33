//! Random appends, small and large, with flushes, checkpoints and restarts in between, against a map of who owns which pair.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::root::{HOUR_US, Root, append_all, bars, read_bars, skip, spec};
use table_core::append::AppendRequest;
use table_core::hot::INLINE_BYTES_MAX;
use table_core::types::{BucketId, EntityKey, EntityValue, Version};
use table_core::{Snapshot, Table};

type Row<'a> = (&'a str, i64, f64);
type Pair = (String, i64);

/// Bars with a note: long enough in one row of a large append to make a segment of it.
fn noted(rows: &[Row<'_>], is_large: bool) -> RecordBatch {
    let bars = bars(rows);
    let note = |row: usize| match is_large && row == 0 {
        true => "n".repeat(INLINE_BYTES_MAX),
        false => "short".to_owned(),
    };
    let notes: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows.len()).map(note)));
    let schema = bars.schema();
    let columns = schema.fields().iter().map(|field| field.name().clone());
    let columns = columns.zip(bars.columns().iter().cloned()).chain([("note".to_owned(), notes)]);
    RecordBatch::try_from_iter(columns).unwrap()
}

fn pair(row: &Row<'_>) -> Pair {
    (row.0.to_owned(), row.1.div_euclid(HOUR_US))
}

fn entity(symbol: &str) -> EntityKey {
    EntityKey::encode(&[EntityValue::Utf8(symbol.to_owned())])
}

/// Everything that a snapshot shows is what the model says: rows, coverage, and who owns each pair.
async fn check(
    root: &Root,
    table: &Table,
    snapshot: &Snapshot,
    owners: &BTreeMap<Pair, Version>,
    stored: &[(String, i64, i64)],
    at: &str,
) {
    assert_eq!(snapshot.row_count, stored.len() as u64, "{at}");
    assert_eq!(snapshot.coverage.pair_count(), owners.len() as u128, "{at}");
    let mut counts: BTreeMap<EntityKey, u64> = BTreeMap::new();
    for (symbol, ..) in stored {
        *counts.entry(entity(symbol)).or_default() += 1;
    }
    let found: BTreeMap<_, _> = snapshot.coverage.rows_sorted().collect();
    let counts = counts.into_iter().map(|(entity, rows)| (entity, Some(rows))).collect();
    assert_eq!(found, counts, "{at}");
    if snapshot.schema().is_none() {
        return;
    }
    let mut found: Vec<_> = read_bars(&root.rows(table, snapshot))
        .into_iter()
        .map(|(symbol, ts, price)| (symbol, ts, price as i64))
        .collect();
    found.sort();
    let mut expected = stored.to_vec();
    expected.sort();
    assert_eq!(found, expected, "{at}");
    for ((symbol, hour), owner) in owners {
        let found = table.owner_of(snapshot, &entity(symbol), BucketId(*hour)).await.unwrap();
        assert_eq!(found, Some(*owner), "{at}: {symbol} {hour}");
    }
}

#[tokio::test]
async fn appends_flushes_and_restarts_agree_with_a_model() {
    let (mut inline, mut segments, mut flushes, mut refused) = (0, 0, 0, 0);
    for seed in 0..8_u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut root = Root::new().await;
        root.table(spec(), None).await;
        let mut owners: BTreeMap<Pair, Version> = BTreeMap::new();
        let mut stored: Vec<(String, i64, i64)> = Vec::new();
        let mut past: Vec<(Version, BTreeMap<Pair, Version>, usize)> = Vec::new();
        let mut next_price = 0_i64;
        for step in 0..40 {
            let at = format!("seed {seed}, step {step}");
            let table = root.catalog.table("prices").await.unwrap();
            let mut rows: Vec<Row<'_>> = Vec::new();
            for _ in 0..random.random_range(1..12) {
                let symbol = ["A", "B", "C", "D"][random.random_range(0..4)];
                let ts = random.random_range(-20..20) * HOUR_US + random.random_range(0..3);
                rows.push((symbol, ts, next_price as f64));
                next_price += 1;
            }
            let skips = random.random_bool(0.5);
            let is_large = random.random_bool(0.2);
            let batch_count = random.random_range(1..=rows.len());
            let batches: Vec<_> = rows
                .chunks(rows.len().div_ceil(batch_count))
                .map(|rows| noted(rows, is_large))
                .collect();
            let request = if skips { skip() } else { AppendRequest::default() };
            let before = table.snapshot().version;
            let result = append_all(&table, request, &batches).await;

            let (owned, free): (Vec<_>, Vec<_>) =
                rows.iter().partition(|row| owners.contains_key(&pair(row)));
            match result {
                Err(error) => {
                    refused += 1;
                    assert!(!skips && !owned.is_empty(), "{at}: {error}");
                    let overlap = error.overlap().unwrap();
                    let pairs: BTreeSet<_> = owned.iter().map(pair).collect();
                    assert!(overlap.overlap_count >= 1, "{at}");
                    assert!(overlap.overlap_count <= pairs.len() as u64, "{at}: {error}");
                    let owner = Version(overlap.owner_version.unwrap());
                    assert!(pairs.iter().any(|pair| owners[pair] == owner), "{at}: {error}");
                    assert_eq!(table.snapshot().version, before, "{at}");
                }
                Ok(receipt) => {
                    assert!(skips || owned.is_empty(), "{at}: {receipt:?}");
                    assert_eq!(receipt.rows_skipped, owned.len() as u64, "{at}");
                    assert_eq!(receipt.row_count, free.len() as u64, "{at}");
                    let pairs: BTreeSet<_> = free.iter().map(pair).collect();
                    assert_eq!(receipt.buckets_covered, pairs.len() as u64, "{at}");
                    let advanced = if free.is_empty() { before } else { before.next() };
                    assert_eq!(receipt.version, advanced, "{at}");
                    assert!(is_large || receipt.segment_count == 0, "{at}: {receipt:?}");
                    segments += receipt.segment_count;
                    inline += u32::from(receipt.segment_count == 0 && !free.is_empty());
                    for row in &free {
                        owners.insert(pair(row), receipt.version);
                        stored.push((row.0.to_owned(), row.1, row.2 as i64));
                    }
                }
            }
            past.push((table.snapshot().version, owners.clone(), stored.len()));
            if random.random_bool(0.15) {
                let (before, was_hot) = (table.snapshot(), !table.snapshot().hot.is_empty());
                let flushed = table.flush().await.unwrap();
                assert_eq!(flushed, was_hot.then(|| before.version.next()), "{at}");
                let after = table.snapshot();
                assert!(after.hot.is_empty(), "{at}");
                assert_eq!(after.coverage, before.coverage, "{at}");
                flushes += u32::from(was_hot);
                past.push((after.version, owners.clone(), stored.len()));
            }
            if random.random_bool(0.1) {
                table.checkpoint().await.unwrap();
            }
            if random.random_bool(0.15) {
                check(&root, &table, &table.snapshot(), &owners, &stored, &at).await;
            }
            if random.random_bool(0.1) {
                drop(table);
                root = root.reopened().await;
            }
        }
        let table = root.catalog.table("prices").await.unwrap();
        check(&root, &table, &table.snapshot(), &owners, &stored, &format!("seed {seed}")).await;
        // Every version is still what it was.
        for (version, owners, row_count) in past {
            let snapshot = table.snapshot_at(version).await.unwrap();
            let at = format!("seed {seed}, version {version}");
            check(&root, &table, &snapshot, &owners, &stored[..row_count], &at).await;
        }
    }
    println!("{inline} inline, {segments} segments, {flushes} flushes, {refused} refused");
    assert!(inline > 50 && segments > 10 && flushes > 10 && refused > 20);
}
