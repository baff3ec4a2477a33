//! C8, C10: every byte of a record, a checkpoint and a segment is flipped, zeroed and cut off; files are swapped, exchanged,
//! removed and replaced by those of other versions. Either everything is as it was, or it is refused by name: never silently
//! another state. Damage in one place stops nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use coverline_proto::log as proto;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::prelude::SessionContext;
use prost::Message;
use table_core::datafusion::{SegmentCache, SnapshotProvider, TABLE_STORE_URL};
use table_core::storage::faults::SimDisk;
use table_core::storage::layout;
use table_core::types::{TableId, Version};
use table_core::{Catalog, Error, ErrorKind};

use crate::model::{Facts, Row};
use crate::number;
use crate::root::{How, Segments, append, open, read, spec};

/// Bytes before the payload of a log file.
const HEADER_BYTES: usize = 52;

const FORMAT_VERSION_AT: usize = 8;

/// Of the bytes of a segment, one in so many is damaged every day.
const SEGMENT_BYTES_STEP: usize = 23;

/// Of the lengths of a log file, one in so many is tried every day.
const LENGTHS_STEP: usize = 7;

/// A root with two tables: one of hot rows, segments and a checkpoint at version 4 of 6, and another.
struct Whole {
    disk: SimDisk,
    table: TableId,
    other: TableId,
    facts: Facts,
}

fn row(entity: usize, n: i64) -> Row {
    Row { entity, n, tag: n }
}

async fn whole() -> Whole {
    let disk = SimDisk::new();
    let catalog = open(&disk, 1).await.unwrap();
    let table = catalog.create_table("t", spec(), None, "").await.unwrap();
    let other = catalog.create_table("u", spec(), None, "").await.unwrap();
    let key = |key: &str| How { key: Some(key.to_owned()), ..How::default() };
    let large = How { is_large: true, ..How::default() };
    append(&table, &[row(0, 1), row(1, 2)], &key("first")).await.unwrap();
    append(&table, &[row(0, 20)], &large).await.unwrap();
    append(&table, &[row(1, 30)], &How::default()).await.unwrap();
    table.checkpoint().await.unwrap();
    append(&table, &[row(2, 1000)], &large).await.unwrap();
    append(&table, &[row(0, 50)], &key("last")).await.unwrap();
    append(&other, &[row(0, 1)], &How::default()).await.unwrap();
    let facts = read(&disk, &catalog, &mut Segments::default()).await.unwrap();
    Whole { disk, table: table.id(), other: other.id(), facts }
}

impl Whole {
    fn record(&self, version: u64) -> String {
        layout::record(&layout::table_log(self.table), Version(version))
    }

    fn checkpoint(&self) -> String {
        layout::checkpoint(&layout::table_log(self.table), Version(4))
    }

    fn damaged(&self, path: &str, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) -> SimDisk {
        let disk = self.disk.copy();
        disk.tamper(path, change);
        disk
    }

    /// What an open server makes of the disk: as it was (`None`), or the refusal. Anything else is silent damage.
    async fn verdict(&self, disk: &SimDisk, label: &str) -> Option<Error> {
        let catalog = match open(disk, 2).await {
            Ok(catalog) => catalog,
            Err(error) => return Some(error),
        };
        assert_eq!(catalog.table_names(), ["t", "u"], "{label}");
        let table = match catalog.table("t").await {
            Ok(table) => table,
            Err(error) => {
                // The other table is none the worse for it.
                catalog.table("u").await.unwrap_or_else(|e| panic!("{label}: {e}"));
                return Some(error);
            }
        };
        drop(table);
        let found = read(disk, &catalog, &mut Segments::default()).await;
        assert_eq!(found.as_ref(), Ok(&self.facts), "{label}: silent damage");
        None
    }
}

/// What the damage of a file came to.
#[derive(Debug, Default)]
struct Tally {
    tried: u32,
    refused: u32,
    unharmed: u32,
}

impl Tally {
    fn add(&mut self, verdict: Option<Error>, file: &str, label: &str) {
        self.tried += 1;
        match verdict {
            None => self.unharmed += 1,
            Some(error) => {
                self.refused += 1;
                let is_clear = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Precondition);
                assert!(is_clear, "{label}: {error:?}");
                assert!(error.message().contains(file), "{label}: {error}");
            }
        }
    }
}

/// Damages every byte of `file`, with `disk_of` making the disk of the damaged bytes, and judges each.
async fn every_byte(whole: &Whole, file: &str, disk_of: impl Fn(Vec<u8>) -> SimDisk) -> Tally {
    let is_long = number("COVERLINE_SOAK_SECONDS").is_some();
    let bytes = whole.disk.peek(file).unwrap();
    let mut tally = Tally::default();
    for position in 0..bytes.len() {
        let was = bytes[position];
        let mut values: Vec<u8> = match is_long {
            true => (0..8).map(|bit| was ^ 1 << bit).chain([!was, 0]).collect(),
            false => vec![[was ^ 1 << (position % 8), !was, 0][position % 3]],
        };
        if values == [was] {
            values = vec![!was];
        }
        values.retain(|value| *value != was);
        for value in values {
            let mut damaged = bytes.clone();
            damaged[position] = value;
            let label = format!("byte {position} of {file} is {value:#04x} instead of {was:#04x}");
            tally.add(whole.verdict(&disk_of(damaged), &label).await, file, &label);
        }
    }
    for length in (0..bytes.len()).step_by(if is_long { 1 } else { LENGTHS_STEP }) {
        let label = format!("{file} ends after {length} bytes");
        let verdict = whole.verdict(&disk_of(bytes[..length].to_vec()), &label).await;
        tally.add(verdict, file, &label);
    }
    let label = format!("{file} has one byte more");
    let longer = [bytes.as_slice(), &[0]].concat();
    tally.add(whole.verdict(&disk_of(longer), &label).await, file, &label);
    println!("{} bytes of {file}: {tally:?}, 0 silent", bytes.len());
    assert!(tally.tried as usize > bytes.len(), "{tally:?}");
    tally
}

#[tokio::test]
async fn every_damaged_byte_of_a_record_is_refused_by_name() {
    let whole = whole().await;
    let catalog_record = layout::record(layout::CATALOG_LOG, Version(3));
    for file in [whole.record(6), whole.record(5), catalog_record] {
        let tally =
            every_byte(&whole, &file, |bytes| whole.damaged(&file, |_| Some(bytes.clone()))).await;
        assert_eq!(tally.unharmed, 0, "{file}");
    }
}

#[tokio::test]
async fn every_damaged_byte_of_a_checkpoint_is_found_and_costs_nothing_while_there_are_records() {
    let whole = whole().await;
    let file = whole.checkpoint();
    let tally =
        every_byte(&whole, &file, |bytes| whole.damaged(&file, |_| Some(bytes.clone()))).await;
    assert_eq!(tally.refused, 0, "the records below it are read instead");
    let tally = every_byte(&whole, &file, |bytes| {
        let disk = whole.damaged(&file, |_| Some(bytes.clone()));
        disk.tamper(&whole.record(2), |_| None);
        disk
    })
    .await;
    assert_eq!(tally.unharmed, 0, "nothing else tells what it said");
}

/// A file of the log with another payload or format, its checksum right.
fn reframed(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut framed = bytes[..bytes.len() - 4].to_vec();
    change(&mut framed);
    let length = (framed.len() - HEADER_BYTES) as u64;
    framed[12..20].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&framed);
    framed.extend(crc.to_le_bytes());
    framed
}

/// What is wrong with the log as a whole, and which error names which file.
#[tokio::test]
async fn a_log_with_wrong_files_is_refused_by_name() {
    let whole = whole().await;
    let log = layout::table_log(whole.table);
    let record = |version| whole.disk.peek(&whole.record(version)).unwrap();
    let check = async |what: &str, kind: ErrorKind, file: String, damage: &dyn Fn(&SimDisk)| {
        let disk = whole.disk.copy();
        damage(&disk);
        let error = whole.verdict(&disk, what).await.unwrap_or_else(|| panic!("{what}: opens"));
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(error.message().contains(&file), "{what}: {error}");
        assert_eq!(
            disk.files().len(),
            {
                let before = whole.disk.copy();
                damage(&before);
                before.files().len()
            },
            "{what}: opening wrote something"
        );
    };
    use ErrorKind::{Corrupt, Precondition};
    check("two swapped", Corrupt, whole.record(5), &|disk| {
        disk.tamper(&whole.record(5), |_| Some(record(6)));
        disk.tamper(&whole.record(6), |_| Some(record(5)));
    })
    .await;
    let others = whole.disk.peek(&layout::record(&layout::table_log(whole.other), Version(2)));
    check("of another table, with another number", Corrupt, whole.record(6), &|disk| {
        disk.tamper(&whole.record(6), |_| others.clone());
    })
    .await;
    check("of another table, all of them", Corrupt, log.clone(), &|disk| {
        for version in 1..=6 {
            disk.tamper(&whole.record(version), |_| {
                let path = layout::record(&layout::table_log(whole.other), Version(version));
                whole.disk.peek(&path)
            });
        }
        disk.tamper(&whole.checkpoint(), |_| None);
    })
    .await;
    check("one missing behind the checkpoint", Corrupt, whole.record(5), &|disk| {
        disk.tamper(&whole.record(5), |_| None);
    })
    .await;
    check("one missing before it, and no checkpoint", Corrupt, whole.record(3), &|disk| {
        disk.tamper(&whole.record(3), |_| None);
        disk.tamper(&whole.checkpoint(), |_| None);
    })
    .await;
    check("the checkpoint is newer than the last record", Corrupt, whole.record(4), &|disk| {
        (4..=6).for_each(|version| disk.tamper(&whole.record(version), |_| None));
    })
    .await;
    check("no record, and a checkpoint", Corrupt, whole.record(4), &|disk| {
        (1..=6).for_each(|version| disk.tamper(&whole.record(version), |_| None));
    })
    .await;
    check("no log, and segments", Corrupt, log.clone(), &|disk| {
        (1..=6).for_each(|version| disk.tamper(&whole.record(version), |_| None));
        disk.tamper(&whole.checkpoint(), |_| None);
    })
    .await;
    check("no catalog, and tables", Corrupt, layout::CATALOG_LOG.to_owned(), &|disk| {
        for version in 1..=3 {
            disk.tamper(&layout::record(layout::CATALOG_LOG, Version(version)), |_| None);
        }
    })
    .await;
    check("a catalog's record missing", Corrupt, layout::CATALOG_LOG.to_owned(), &|disk| {
        disk.tamper(&layout::record(layout::CATALOG_LOG, Version(2)), |_| None);
    })
    .await;
    check("a record of a newer format", Precondition, whole.record(6), &|disk| {
        let newer = reframed(&record(6), |framed| framed[FORMAT_VERSION_AT] = 2);
        disk.tamper(&whole.record(6), |_| Some(newer));
    })
    .await;
    check("an action of a newer version", Precondition, whole.record(6), &|disk| {
        // Field 7 (actions) with a message that has field 100 only.
        let newer = reframed(&record(6), |framed| framed.extend([0x3a, 3, 0xa2, 0x06, 0]));
        disk.tamper(&whole.record(6), |_| Some(newer));
    })
    .await;
    let newer = reframed(&record(6), |framed| {
        let mut record = proto::CommitRecord::decode(&framed[HEADER_BYTES..]).unwrap();
        record.version = 7;
        framed.truncate(HEADER_BYTES);
        framed.extend(record.encode_to_vec());
    });
    check("a record that does not follow", Corrupt, whole.record(7), &|disk| {
        disk.plant(&whole.record(7), newer.clone());
    })
    .await;
}

/// A checkpoint whose checksum is right and whose contents are not.
#[tokio::test]
async fn a_checkpoint_that_contradicts_itself_or_its_records_is_not_believed() {
    type Edit = fn(&mut proto::Checkpoint);
    let edits: [(&str, Edit); 10] = [
        ("without hot rows", |saved| saved.inline_rows.clear()),
        ("without one append's hot rows", |saved| drop(saved.inline_rows.remove(0))),
        ("without segments", |saved| saved.segments.clear()),
        ("without append ids", |saved| saved.append_ids.clear()),
        ("with another receipt", |saved| saved.append_ids[0].row_count += 1),
        ("with a property", |saved| drop(saved.properties.insert("a".into(), "b".into()))),
        ("without coverage", |saved| saved.coverage = saved.coverage.slice(..0)),
        ("with another digest of coverage", |saved| saved.coverage_digest ^= 1),
        ("with another digest of everything", |saved| saved.state_digest ^= 1),
        ("of another version", |saved| saved.version -= 1),
    ];
    let whole = whole().await;
    let file = whole.checkpoint();
    for (what, edit) in edits {
        let changed = |bytes: Vec<u8>| {
            Some(reframed(&bytes, |framed| {
                let mut saved = proto::Checkpoint::decode(&framed[HEADER_BYTES..]).unwrap();
                edit(&mut saved);
                framed.truncate(HEADER_BYTES);
                framed.extend(saved.encode_to_vec());
            }))
        };
        let disk = whole.damaged(&file, changed);
        assert!(whole.verdict(&disk, what).await.is_none(), "{what}: records are read instead");
        disk.tamper(&whole.record(1), |_| None);
        let error = whole.verdict(&disk, what).await.unwrap_or_else(|| panic!("{what}: silent"));
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        assert!(error.message().contains(&file), "{what}: {error}");
    }
    // Written by a version that had no digest of everything.
    let disk = whole.damaged(&file, |bytes| {
        Some(reframed(&bytes, |framed| {
            let mut saved = proto::Checkpoint::decode(&framed[HEADER_BYTES..]).unwrap();
            saved.state_digest = 0;
            framed.truncate(HEADER_BYTES);
            framed.extend(saved.encode_to_vec());
        }))
    });
    disk.tamper(&whole.record(1), |_| None);
    assert!(whole.verdict(&disk, "an older checkpoint").await.is_none());
}

/// C10: records below the checkpoint are not needed to open; the versions that need them are refused.
#[tokio::test]
async fn damage_below_the_checkpoint_refuses_the_versions_that_need_it() {
    let whole = whole().await;
    for (what, damage) in [("flipped", Some(0)), ("missing", None)] {
        let disk = whole.damaged(&whole.record(2), |mut bytes| {
            bytes[60] ^= 4;
            damage.map(|_: u8| bytes)
        });
        assert!(whole.verdict(&disk, what).await.is_none(), "{what}");
        let table = open(&disk, 3).await.unwrap().table("t").await.unwrap();
        for version in 1..=6 {
            let outcome = table.snapshot_at(Version(version)).await;
            match outcome {
                Ok(_) => assert!(version == 1 || version >= 4, "{what}: version {version}"),
                Err(error) => {
                    assert!((2..4).contains(&version), "{what}: version {version}: {error}");
                    assert_eq!(error.kind(), ErrorKind::Corrupt);
                    assert!(error.message().contains(&whole.record(2)), "{error}");
                }
            }
        }
    }
}

/// What queries say: rows of the table that `filter` lets through.
async fn query(
    disk: &SimDisk,
    catalog: &Arc<Catalog>,
    filter: &str,
) -> Result<usize, Option<Error>> {
    let table = catalog.table("t").await.map_err(Some)?;
    let session = SessionContext::new();
    let url = ObjectStoreUrl::parse(TABLE_STORE_URL).unwrap();
    session.register_object_store(url.as_ref(), table.store().object_store());
    let provider = SnapshotProvider::new(
        table.snapshot(),
        "t",
        Arc::clone(table.store()),
        Arc::new(SegmentCache::default()),
    );
    session.register_table("t", Arc::new(provider)).unwrap();
    let sql = format!("SELECT * FROM t WHERE {filter}");
    let outcome = session.sql(&sql).await.unwrap().collect().await;
    let _still_there = disk;
    match outcome {
        Ok(batches) => Ok(batches.iter().map(|batch| batch.num_rows()).sum()),
        Err(error) => {
            let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
            while let Some(error) = cause {
                if let Some(ours) = error.downcast_ref::<Error>() {
                    return Err(Some(Error::new(ours.kind(), ours.message())));
                }
                cause = error.source();
            }
            Err(None)
        }
    }
}

#[tokio::test]
async fn a_damaged_segment_fails_the_queries_that_need_it_and_no_others() {
    let whole = whole().await;
    let catalog = open(&whole.disk, 2).await.unwrap();
    let snapshot = catalog.table("t").await.unwrap().snapshot();
    let segment = &snapshot.segments[1];
    let path = layout::segment(whole.table, segment.id);
    let all = whole.facts["t"].rows.len();
    assert_eq!(query(&whole.disk, &catalog, "true").await.unwrap(), all);
    // Only the second segment has rows there.
    const NEEDS_IT: &str = "n >= 1000";
    const DOES_NOT: &str = "n < 1000";
    assert_eq!(query(&whole.disk, &catalog, NEEDS_IT).await.unwrap(), 1);
    drop(catalog);

    let bytes = whole.disk.peek(&path).unwrap();
    let step = if number("COVERLINE_SOAK_SECONDS").is_some() { 1 } else { SEGMENT_BYTES_STEP };
    let mut damages: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
    for position in (0..bytes.len()).step_by(step) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1 << (position % 8);
        damages.insert(format!("byte {position} flipped"), Some(damaged));
    }
    for length in (0..bytes.len()).step_by(step * 8) {
        damages.insert(format!("cut to {length}"), Some(bytes[..length].to_vec()));
    }
    damages.insert("one byte more".to_owned(), Some([bytes.as_slice(), &[0]].concat()));
    damages.insert("gone".to_owned(), None);
    let first = layout::segment(whole.table, snapshot.segments[0].id);
    damages.insert("another segment".to_owned(), whole.disk.peek(&first));
    let (mut refused, mut unread) = (0, 0);
    for (what, damaged) in &damages {
        let disk = whole.damaged(&path, |_| damaged.clone());
        let catalog = open(&disk, 3).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        match query(&disk, &catalog, NEEDS_IT).await {
            Ok(rows) => {
                // The magic in front of the first row group is nobody's; scrub looks at it.
                let in_magic =
                    ["byte 0 flipped", "byte 1 flipped", "byte 2 flipped", "byte 3 flipped"];
                assert!(rows == 1 && in_magic.contains(&what.as_str()), "{what}: {rows} rows");
                unread += 1;
            }
            Err(Some(error)) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
                assert!(error.message().contains(&path), "{what}: {error}");
                refused += 1;
            }
            Err(None) => panic!("{what}: an error that is not ours"),
        }
        if refused % 16 == 1 {
            assert_eq!(query(&disk, &catalog, DOES_NOT).await.unwrap(), all - 1, "{what}");
            let table = catalog.table("t").await.unwrap();
            append(&table, &[row(2, -50)], &How::default()).await.unwrap();
        }
    }
    println!("{} bytes of a segment: {refused} damages refused, {unread} not read", bytes.len());
    assert!(refused > 50, "{refused}");
}
