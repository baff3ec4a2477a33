//! Coverage against a naive set of pairs, its stored form against damage, and its memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::types::{BucketId, BucketWidth, Bucketing, EntityKey, EntityValue, IndexType};

type Pairs = BTreeSet<(EntityKey, i64)>;

fn key(entity: u8) -> EntityKey {
    EntityKey::encode(&[EntityValue::Utf8(format!("e{entity}"))])
}

fn delta_of(pairs: &Pairs) -> CoverageDelta {
    let mut delta = CoverageDelta::default();
    for (entity, bucket) in pairs {
        delta.insert(entity, BucketId(*bucket));
    }
    delta
}

fn pairs_of<'a>(entities: impl Iterator<Item = (EntityKey, &'a Runs)>) -> Pairs {
    let each = |(entity, runs): (EntityKey, &Runs)| -> Vec<(EntityKey, i64)> {
        runs.iter()
            .flat_map(|run| run.first.0..=run.last.0)
            .map(|bucket| (entity.clone(), bucket))
            .collect()
    };
    entities.flat_map(each).collect()
}

fn run(first: i64, last: i64) -> Run {
    Run { first: BucketId(first), last: BucketId(last) }
}

/// Buckets close together, far apart, and at both ends of `i64`, so that every form and width is reached.
fn bucket() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => -40_i64..40,
        2 => -100_000_i64..100_000,
        1 => -10_000_000_000_i64..10_000_000_000,
        1 => (0_i64..4).prop_map(|n| i64::MIN + n),
        1 => (0_i64..4).prop_map(|n| i64::MAX - n),
    ]
}

fn pairs() -> impl Strategy<Value = Pairs> {
    prop::collection::btree_set((0_u8..6, bucket()), 0..60)
        .prop_map(|set| set.into_iter().map(|(entity, bucket)| (key(entity), bucket)).collect())
}

fn integers() -> Bucketing {
    Bucketing::try_new(BucketWidth::Steps(1), IndexType::Int64, "UTC").unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn runs_are_a_set(inserts in prop::collection::vec(bucket(), 0..120), other in prop::collection::vec(bucket(), 0..60)) {
        let mut runs = Runs::default();
        let mut model = BTreeSet::new();
        for bucket in inserts {
            prop_assert_eq!(runs.insert(BucketId(bucket)), model.insert(bucket));
            prop_assert!(runs.contains(BucketId(bucket)));
        }
        let list: Vec<Run> = runs.iter().collect();
        prop_assert!(list.windows(2).all(|pair| pair[0].last.0 < pair[1].first.0 - 1));
        let flat: BTreeSet<i64> = list.iter().flat_map(|run| run.first.0..=run.last.0).collect();
        prop_assert_eq!(&flat, &model);
        prop_assert_eq!(runs.bucket_count(), model.len() as u128);
        let other_model: BTreeSet<i64> = other.iter().copied().collect();
        let other: Runs = other.into_iter().map(BucketId).collect();
        for bucket in &other_model {
            prop_assert_eq!(runs.contains(BucketId(*bucket)), model.contains(bucket));
        }
        let shared: Runs = model.intersection(&other_model).map(|bucket| BucketId(*bucket)).collect();
        prop_assert_eq!(runs.intersection(&other), shared.clone());
        prop_assert_eq!(other.intersection(&runs), shared);
        let untouched = runs.clone();
        let added = runs.union(&other);
        prop_assert_eq!(added, other_model.difference(&model).count() as u128);
        let both: Runs = model.union(&other_model).map(|bucket| BucketId(*bucket)).collect();
        prop_assert_eq!(&runs, &both);
        prop_assert_eq!(untouched.bucket_count(), model.len() as u128);
    }

    #[test]
    fn coverage_is_a_set_of_pairs(appends in prop::collection::vec(pairs(), 1..5), probe in pairs()) {
        let (mut coverage, mut streamed) = (Coverage::default(), Coverage::default());
        let mut model = Pairs::new();
        for pairs in &appends {
            let before = coverage.clone();
            let delta = delta_of(pairs);
            let overlap = coverage.overlap(&delta);
            let expected: Pairs = model.intersection(pairs).cloned().collect();
            prop_assert_eq!(&overlap, &delta_of(&expected));
            coverage.add(&delta);
            prop_assert_eq!(streamed.add_encoded(&delta.encode(), &[]).unwrap(), expected.len() as u128);
            prop_assert_eq!(&streamed, &coverage);
            prop_assert_eq!(before.pair_count(), model.len() as u128);
            model.extend(pairs.iter().cloned());
        }
        prop_assert_eq!(pairs_of(coverage.iter()), model.clone());
        prop_assert_eq!(coverage.pair_count(), model.len() as u128);
        let entities: BTreeSet<_> = model.iter().map(|(entity, _)| entity.clone()).collect();
        prop_assert_eq!(coverage.entity_count(), entities.len());
        for (entity, bucket) in &probe {
            let known = model.contains(&(entity.clone(), *bucket));
            prop_assert_eq!(coverage.contains(entity, BucketId(*bucket)), known);
        }
        let bytes = coverage.encode();
        let back = Coverage::decode(&bytes, &[]).unwrap();
        prop_assert_eq!(&back, &coverage);
        prop_assert_eq!(back.digest(), coverage.digest());
        prop_assert_eq!(back.encode(), bytes.clone());
        prop_assert_eq!(delta_of(&model).encode(), bytes.clone());
        prop_assert_eq!(CoverageDelta::decode(&bytes).unwrap(), delta_of(&model));
    }

    #[test]
    fn rows_of_entities_add_up(appends in prop::collection::vec((pairs(), 0_u64..1_000, 0_u8..8), 1..6), last in any::<bool>()) {
        let mut coverage = Coverage::default();
        let mut model: BTreeMap<EntityKey, Option<u64>> = BTreeMap::new();
        for (pairs, count, kind) in &appends {
            let entities: BTreeSet<_> = pairs.iter().map(|(entity, _)| entity.clone()).collect();
            // What an append says: how many rows each entity has, that they came with an earlier delta, or nothing.
            let said: Vec<u64> = match kind {
                0 => Vec::new(),
                _ => entities.iter().zip(0..).map(|(entity, at)| match model.contains_key(entity) && kind % 2 == 0 {
                    true => 0,
                    false => count + at + 1,
                }).collect(),
            };
            let before = coverage.clone();
            coverage.add_encoded(&delta_of(pairs).encode(), &said).unwrap();
            prop_assert_eq!(before.row_count(), model.values().copied().sum::<Option<u64>>());
            for (at, entity) in entities.iter().enumerate() {
                let rows = model.get(entity).copied().unwrap_or(Some(0));
                model.insert(entity.clone(), rows.zip(said.get(at)).map(|(rows, more)| rows + more));
            }
            if !entities.is_empty() && last {
                let mut longer = said.clone();
                longer.resize(entities.len(), 1);
                longer.push(1);
                let counts = longer.len();
                let expected = CodecError::RowCounts { counts, entities: entities.len() };
                prop_assert_eq!(coverage.clone().add_encoded(&delta_of(pairs).encode(), &longer), Err(expected.clone()));
                prop_assert_eq!(Coverage::decode(&delta_of(pairs).encode(), &longer), Err(expected));
                let bare = vec![0; entities.len()];
                let refused = Coverage::default().add_encoded(&delta_of(pairs).encode(), &bare);
                prop_assert_eq!(refused, Err(CodecError::NoRows { entity: 0 }));
            }
        }
        let rows: Vec<_> = coverage.rows_sorted().collect();
        prop_assert_eq!(&rows, &model.clone().into_iter().collect::<Vec<_>>());
        for (entity, rows) in &model {
            prop_assert_eq!(coverage.rows(entity), *rows);
        }
        prop_assert_eq!(coverage.row_count(), model.values().copied().sum::<Option<u64>>());
        let folded = coverage.fold();
        let back = Coverage::decode(&folded.pairs, &folded.rows).unwrap();
        prop_assert_eq!(&back, &coverage);
        prop_assert_eq!((back.digest(), back.rows_digest()), (coverage.digest(), coverage.rows_digest()));
        prop_assert_eq!(back.row_count(), coverage.row_count());
        prop_assert_eq!(back.fold(), folded);
        prop_assert_eq!(coverage.rows_digest() == 0, model.values().all(Option::is_none));
    }

    #[test]
    fn clones_that_grow_apart_do_not_see_each_other(base in pairs(), left in pairs(), right in pairs()) {
        let mut first = Coverage::default();
        first.add(&delta_of(&base));
        let mut second = first.clone();
        first.add(&delta_of(&left));
        second.add(&delta_of(&right));
        let third = second.clone();
        for (coverage, extra) in [(&first, &left), (&second, &right), (&third, &right)] {
            let model: Pairs = base.union(extra).cloned().collect();
            prop_assert_eq!(pairs_of(coverage.iter()), model.clone());
            let mut alone = Coverage::default();
            alone.add(&delta_of(&model));
            prop_assert_eq!(alone.digest(), coverage.digest());
            prop_assert_eq!(alone.entity_count(), coverage.entity_count());
        }
    }

    #[test]
    fn gaps_and_completeness_match_counting(set in prop::collection::btree_set((0_u8..4, -20_i64..20), 1..40), ends in (-25_i64..25, -25_i64..25)) {
        let model: Pairs = set.iter().map(|(entity, bucket)| (key(*entity), *bucket)).collect();
        let mut coverage = Coverage::default();
        coverage.add(&delta_of(&model));
        let (first, last) = (ends.0.min(ends.1), ends.0.max(ends.1));
        let missing = |window: Option<(i64, i64)>| -> Pairs {
            let mut missing = Pairs::new();
            for entity in model.iter().map(|(entity, _)| entity) {
                let own: BTreeSet<i64> = model.iter().filter(|pair| pair.0 == *entity).map(|pair| pair.1).collect();
                let (from, to) = window.unwrap_or((*own.first().unwrap(), *own.last().unwrap()));
                missing.extend((from..=to).filter(|bucket| !own.contains(bucket)).map(|bucket| (entity.clone(), bucket)));
            }
            missing
        };
        for window in [None, Some((first, last))] {
            let gaps = coverage.gaps(&integers(), window.map(|(first, last)| run(first, last)));
            let flat: Pairs = gaps.iter().flat_map(|gap| (gap.missing.first.0..=gap.missing.last.0).map(|b| (gap.entity.clone(), b))).collect();
            prop_assert_eq!(&flat, &missing(window));
            prop_assert_eq!(gaps.iter().map(|gap| gap.bucket_count).sum::<u64>(), flat.len() as u64);
        }
        for complete in coverage.completeness(&integers(), run(first, last)) {
            let has = |bucket: i64| model.contains(&(complete.entity.clone(), bucket));
            let present = (first..=last).filter(|bucket| has(*bucket)).count() as u64;
            let until = (first..=last).take_while(|bucket| has(*bucket)).last().map(BucketId);
            prop_assert_eq!((complete.expected, complete.present, complete.complete_until), ((last - first + 1) as u64, present, until));
        }
    }

    #[test]
    fn bytes_that_decode_are_the_only_ones_for_their_content(mut bytes in pairs().prop_map(|pairs| delta_of(&pairs).encode()), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(delta) = CoverageDelta::decode(&bytes) {
            prop_assert_eq!(delta.encode(), bytes.clone());
        }
        prop_assert!(CoverageDelta::decode(&bytes[..at]).is_err());
    }
}

#[test]
fn many_runs_become_a_tree_and_stay_a_set() {
    let mut runs: Runs = (0..3_000).map(|n| BucketId(n * 2)).collect();
    let mut model: BTreeSet<i64> = (0..3_000).map(|n| n * 2).collect();
    let before = runs.clone();
    for bucket in [1, 3, 2_999, 5_999, -1, 6_001, 7_000, i64::MAX, i64::MIN] {
        assert_eq!(runs.insert(BucketId(bucket)), model.insert(bucket));
    }
    // Of 403 buckets the 201 even ones are there.
    assert_eq!(runs.insert_run(run(99, 501)), 202);
    model.extend(99..=501);
    assert_eq!(runs.bucket_count(), model.len() as u128);
    assert!(runs.iter().flat_map(|run| run.first.0..=run.last.0).eq(model));
    assert_eq!(before.run_count(), 3_000);
}

#[test]
fn damaged_or_foreign_bytes_are_refused() {
    let mut delta = CoverageDelta::default();
    delta.insert(&key(1), BucketId(5));
    let good = delta.encode();
    let mut trailing = good.clone();
    trailing.push(0);
    assert!(matches!(CoverageDelta::decode(&trailing), Err(CodecError::NotCanonical { .. })));
    for bytes in [
        &[][..],
        &[2, 0],
        &[1, 0x80, 0x00],
        &[1, 1, 0, 0, 0],
        &[1, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0],
        &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        // Two entities: out of order, equal, and not sharing what they could.
        &[1, 2, 0, 1, b'b', 1, 0, 0, 0, 1, b'a', 1, 0, 0],
        &[1, 2, 0, 1, b'b', 1, 0, 0, 1, 0, 1, 0, 0],
        &[1, 2, 0, 1, b'b', 1, 0, 0, 0, 2, b'b', b'c', 1, 0, 0],
    ] {
        assert!(Coverage::decode(bytes, &[]).is_err(), "{bytes:?}");
    }
}

#[test]
fn all_of_i64_is_one_run() {
    let entity = key(0);
    let mut runs = Runs::default();
    assert_eq!(runs.insert_run(run(i64::MIN, i64::MAX)), 1 << 64);
    let mut delta = CoverageDelta::default();
    delta.insert_runs(&entity, &runs);
    assert_eq!(CoverageDelta::decode(&delta.encode()).unwrap(), delta);
    let mut coverage = Coverage::default();
    coverage.add(&delta);
    assert_eq!(coverage.pair_count(), 1 << 64);
    assert!(coverage.gaps(&integers(), Some(run(i64::MIN, i64::MAX))).is_empty());
}

#[test]
fn a_far_date_costs_one_run() {
    let entity = key(0);
    let mut delta = CoverageDelta::default();
    delta.insert(&entity, BucketId(0));
    delta.insert(&entity, BucketId(i64::MAX));
    let mut coverage = Coverage::default();
    coverage.add(&delta);
    assert_eq!(coverage.runs(&entity).unwrap().run_count(), 2);
    assert!(coverage.runs(&entity).unwrap().heap_bytes() < 200);
    assert!(coverage.encode().len() < 40);
    let gaps = coverage.gaps(&integers(), None);
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].bucket_count, i64::MAX as u64 - 1);
}

#[test]
fn a_day_that_samoa_skipped_is_no_gap() {
    let width = BucketWidth::parse("1d").unwrap();
    let index = IndexType::Timestamp(arrow::datatypes::TimeUnit::Second);
    let apia = Bucketing::try_new(width, index, "Pacific/Apia").unwrap();
    let skipped = (-1_000_000..1_000_000).map(BucketId).find(|bucket| apia.is_empty(*bucket));
    let skipped = skipped.unwrap().0;
    let mut coverage = Coverage::default();
    let entity = key(0);
    let mut delta = CoverageDelta::default();
    delta.insert(&entity, BucketId(skipped - 1));
    delta.insert(&entity, BucketId(skipped + 1));
    coverage.add(&delta);
    assert!(coverage.gaps(&apia, None).is_empty());
    let complete = coverage.completeness(&apia, run(skipped - 1, skipped + 2));
    assert_eq!((complete[0].expected, complete[0].present), (3, 2));
    assert_eq!(complete[0].complete_until, Some(BucketId(skipped + 1)));
}

#[test]
fn fifty_thousand_entities_of_ten_runs_are_small() {
    let mut delta = CoverageDelta::default();
    for number in 0..50_000_i64 {
        let entity = EntityKey::encode(&[EntityValue::Utf8(format!("SYM{number:07}"))]);
        let runs = (0..10)
            .flat_map(|week| (0..5).map(move |day| 480_000 + week * 168 + day))
            .map(BucketId)
            .collect();
        delta.insert_runs(&entity, &runs);
    }
    let mut coverage = Coverage::default();
    coverage.add(&delta);
    assert_eq!(size_of::<Runs>(), 32);
    let bytes = coverage.memory_bytes();
    assert!(bytes <= 10_000_000, "{bytes} bytes in memory");
    let stored = coverage.encode();
    assert!(stored.len() <= 2_000_000, "{} bytes stored", stored.len());
    let bytes = Coverage::decode(&stored, &[]).unwrap().memory_bytes();
    assert!(bytes <= 10_000_000, "{bytes} bytes in memory after a checkpoint");
}
