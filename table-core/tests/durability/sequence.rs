//! Random sequences of everything that changes a root, with what each answered and what should be there afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use table_core::append::Receipt;
use table_core::storage::faults::{FaultKind, FaultTime, Operation, SimDisk};
use table_core::types::Version;
use table_core::{Catalog, Error, ErrorKind, Table};

use crate::model::{BUCKET, ENTITIES, Facts, Known, Model, Pair, Row};
use crate::root::{How, append, open, spec, staged};

/// Actions whose crash points are tried, at the end of each sequence.
pub(crate) const ACTIONS_TRIED: usize = 3;

/// Actions before those, at most.
const ACTIONS_BEFORE_MAX: usize = 6;

/// Buckets of each entity that appends choose from.
const BUCKETS: i64 = 6;

const TABLES: [&str; 2] = ["t", "u"];

#[derive(Debug, Clone, Copy)]
enum Action {
    Inline,
    Segment,
    /// Two small appends at once, which share a record.
    Group,
    /// An append with an append id.
    Keyed {
        is_large: bool,
    },
    /// The same again.
    Retry,
    /// The same append id for other rows.
    Reuse,
    Skip {
        is_large: bool,
    },
    Overlap {
        is_large: bool,
    },
    /// A rival takes the next version first.
    Conflict {
        is_large: bool,
    },
    /// A rival takes the next version, and the pairs, first.
    LateOverlap,
    Flush,
    /// A rival flushes the same rows first.
    LateFlush,
    Checkpoint,
    Drop,
    Reopen,
    /// The link of the record is made, and reported as failed.
    Ambiguous,
    /// The fsync of a staging file fails, and it is written once more.
    Rewrite,
}

fn draw(random: &mut StdRng) -> Action {
    let is_large = random.random_bool(0.4);
    match random.random_range(0..28) {
        0..4 => Action::Inline,
        4..7 => Action::Segment,
        7..9 => Action::Group,
        9..12 => Action::Keyed { is_large },
        12..14 => Action::Retry,
        14 => Action::Reuse,
        15 => Action::Skip { is_large },
        16 => Action::Overlap { is_large },
        17..20 => Action::Conflict { is_large },
        20 => Action::LateOverlap,
        21 => Action::Flush,
        22 => Action::LateFlush,
        23 => Action::Checkpoint,
        24 => Action::Drop,
        25 => Action::Reopen,
        26 => Action::Ambiguous,
        _ => Action::Rewrite,
    }
}

/// What the sequences have reached, so that a tame run is visible.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reached {
    pub(crate) conflicts: u64,
    pub(crate) self_recognitions: u64,
    pub(crate) repeated: u64,
    pub(crate) overlaps: u64,
    pub(crate) shared_records: u64,
    pub(crate) rewrites: u64,
    pub(crate) flushes: u64,
    pub(crate) checkpoints: u64,
    pub(crate) drops: u64,
}

/// An append that can be sent again.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) table: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) how: How,
}

/// One change that was asked for, and what is there when it is done.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) what: String,
    /// Operations of the disk done when it was called and when it answered.
    pub(crate) operations: (u64, u64),
    pub(crate) sent: Option<Sent>,
    pub(crate) after: Model,
}

/// A sequence that was run.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) seed: u64,
    pub(crate) disk: SimDisk,
    pub(crate) done: Vec<Done>,
    /// The first operation whose crash points are tried.
    pub(crate) first_operation: u64,
    pub(crate) reached: Reached,
}

struct Runner {
    random: StdRng,
    disk: SimDisk,
    catalog: Arc<Catalog>,
    opened: u64,
    model: Model,
    done: Vec<Done>,
    /// Appends with an append id that were committed.
    keyed: Vec<Sent>,
    last_tag: i64,
    reached: Reached,
}

/// Runs the sequence that follows from `seed`.
///
/// # Errors
/// When an answer is not what it should be.
pub(crate) async fn run(disk: SimDisk, seed: u64) -> Result<Sequence, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let before = random.random_range(0..=ACTIONS_BEFORE_MAX);
    let catalog = open(&disk, 100).await.map_err(|error| error.to_string())?;
    let mut runner = Runner {
        random,
        disk: disk.clone(),
        catalog,
        opened: 100,
        model: Model::default(),
        done: Vec::new(),
        keyed: Vec::new(),
        last_tag: 0,
        reached: Reached::default(),
    };
    let mut first_operation = 0;
    for number in 0..before + ACTIONS_TRIED {
        if number == before && before > 0 {
            first_operation = disk.operation_count();
        }
        let action = draw(&mut runner.random);
        runner.act(action).await.map_err(|error| format!("{action:?}: {error}"))?;
    }
    let Runner { done, reached, .. } = runner;
    Ok(Sequence { seed, disk, done, first_operation, reached })
}

impl Runner {
    async fn act(&mut self, action: Action) -> Result<(), String> {
        let name = TABLES[self.random.random_range(0..TABLES.len())].to_owned();
        if !self.model.facts.contains_key(&name) {
            self.create(&name).await?;
        }
        match action {
            Action::Inline => self.append(&name, How::default()).await,
            Action::Segment => self.append(&name, How { is_large: true, ..How::default() }).await,
            Action::Group => self.group(&name).await,
            Action::Keyed { is_large } => {
                let key = Some(self.new_key());
                self.append(&name, How { is_large, key, ..How::default() }).await
            }
            Action::Retry => self.retry().await,
            Action::Reuse => self.reuse().await,
            Action::Skip { is_large } => self.skip(&name, is_large).await,
            Action::Overlap { is_large } => self.overlap(&name, is_large).await,
            Action::Conflict { is_large } => self.conflict(&name, is_large).await,
            Action::LateOverlap => self.late_overlap(&name).await,
            Action::Flush => self.flush(&name).await,
            Action::LateFlush => self.late_flush(&name).await,
            Action::Checkpoint => self.checkpoint(&name).await,
            Action::Drop => self.drop_table(&name).await,
            Action::Reopen => self.reopen().await,
            Action::Ambiguous => {
                self.disk.fail_later(Operation::LinkNew, 0, FaultTime::After, FaultKind::Io);
                self.append(&name, How::default()).await?;
                self.reached.self_recognitions += u64::from(!self.disk.heal());
                Ok(())
            }
            Action::Rewrite => {
                self.disk.fail_later(Operation::FsyncStaged, 0, FaultTime::Before, FaultKind::Io);
                self.append(&name, How::default()).await?;
                self.reached.rewrites += u64::from(!self.disk.heal());
                Ok(())
            }
        }
    }

    /// An append id that was never used.
    fn new_key(&mut self) -> String {
        self.last_tag += 1;
        format!("k{}", self.last_tag)
    }

    /// Notes that a change is done; the model says already what is there now.
    fn note(&mut self, what: impl Into<String>, before: u64, sent: Option<Sent>) {
        let operations = (before, self.disk.operation_count());
        self.done.push(Done { what: what.into(), operations, sent, after: self.model.clone() });
    }

    async fn table(&self, name: &str) -> Result<Arc<Table>, String> {
        self.catalog.table(name).await.map_err(|error| error.to_string())
    }

    /// Another server without a lock, which has just read the log.
    async fn rival(&mut self, name: &str) -> Result<Arc<Table>, String> {
        self.opened += 1;
        let rival = open(&self.disk, self.opened).await.map_err(|error| error.to_string())?;
        rival.table(name).await.map_err(|error| error.to_string())
    }

    /// Rows of pairs that nobody owns.
    fn free_rows(&mut self, name: &str) -> Vec<Row> {
        self.last_tag += 1;
        let tag = self.last_tag;
        let count = self.random.random_range(1..4);
        let mut rows: BTreeMap<Pair, Row> = BTreeMap::new();
        for try_number in 0.. {
            if rows.len() == count {
                break;
            }
            // When few pairs are left, there are others further on.
            let first = if try_number < 40 { 0 } else { 1000 * tag };
            let entity = self.random.random_range(0..ENTITIES.len());
            let bucket = first + self.random.random_range(0..BUCKETS);
            let row = Row { entity, n: bucket * BUCKET + self.random.random_range(0..BUCKET), tag };
            if !self.model.table(name).pairs.contains(&row.pair()) {
                rows.insert(row.pair(), row);
            }
        }
        rows.into_values().collect()
    }

    /// A row of a pair that is owned, and by which version.
    fn owned_row(&mut self, name: &str) -> Option<(Row, u64)> {
        let owners = &self.model.owners[name];
        let chosen = self.random.random_range(0..owners.len().max(1));
        let (pair, version) = owners.iter().nth(chosen)?;
        self.last_tag += 1;
        Some((Row { entity: pair.0, n: pair.1 * BUCKET + 1, tag: self.last_tag }, *version))
    }

    async fn create(&mut self, name: &str) -> Result<(), String> {
        let before = self.disk.operation_count();
        let created = self.catalog.create_table(name, spec(), None, "").await;
        created.map_err(|error| error.to_string())?;
        self.model.create(name);
        self.note(format!("create {name}"), before, None);
        Ok(())
    }

    async fn append(&mut self, name: &str, how: How) -> Result<(), String> {
        let rows = self.free_rows(name);
        let table = self.table(name).await?;
        self.send(&table, name, rows, how, 1).await
    }

    /// Sends rows that are free, which become the version after `behind` others.
    async fn send(
        &mut self,
        table: &Arc<Table>,
        name: &str,
        rows: Vec<Row>,
        how: How,
        versions: u64,
    ) -> Result<(), String> {
        let version = self.model.table(name).version + 1;
        let before = self.disk.operation_count();
        let seen = table.snapshot().version.0;
        let receipt = append(table, &rows, &how).await.map_err(|error| error.to_string())?;
        self.check_receipt(&receipt, version, rows.len(), 0)?;
        if version != seen + versions {
            return Err(format!("version {version} after {seen} was seen"));
        }
        self.model.append(name, version, &rows, !how.is_large);
        let sent = Sent { table: name.to_owned(), rows, how };
        if let Some(key) = &sent.how.key {
            let row_count = sent.rows.len() as u64;
            self.model.remember(name, key, Known { version, row_count, rows_skipped: 0 });
            self.keyed.push(sent.clone());
        }
        self.note(format!("append to {name}, {:?}", sent.how), before, Some(sent));
        Ok(())
    }

    fn check_receipt(
        &self,
        receipt: &Receipt,
        version: u64,
        row_count: usize,
        rows_skipped: usize,
    ) -> Result<(), String> {
        let is_right = receipt.version == Version(version)
            && receipt.row_count == row_count as u64
            && receipt.rows_skipped == rows_skipped as u64
            && !receipt.repeated;
        if is_right { Ok(()) } else { Err(format!("{receipt:?}, not version {version}")) }
    }

    async fn group(&mut self, name: &str) -> Result<(), String> {
        let table = self.table(name).await?;
        let first = self.free_rows(name);
        let version = self.model.table(name).version + 1;
        let mut whole = self.model.clone();
        whole.append(name, version, &first, true);
        let mut second = self.free_rows(name);
        second.retain(|row| !whole.table(name).pairs.contains(&row.pair()));
        if second.is_empty() {
            return self.append(name, How::default()).await;
        }
        let text = |error: Error| error.to_string();
        let one = staged(&table, &first, &How::default()).await.map_err(text)?;
        let two = staged(&table, &second, &How::default()).await.map_err(text)?;
        let before = self.disk.operation_count();
        let (one, two) = futures::join!(one.commit(), two.commit());
        self.check_receipt(&one.map_err(text)?, version, first.len(), 0)?;
        self.check_receipt(&two.map_err(text)?, version, second.len(), 0)?;
        self.model = whole;
        self.model.append(name, version, &second, true);
        self.reached.shared_records += 1;
        self.note(format!("two appends to {name}"), before, None);
        Ok(())
    }

    /// One of the appends with an append id to tables that are still there.
    fn known(&mut self) -> Option<(Sent, Known)> {
        let facts = &self.model.facts;
        let of = |sent: &Sent| {
            let table = facts.get(&sent.table)?;
            let known = table.keys.get(sent.how.key.as_ref()?)?;
            table.rows.contains(sent.rows.first()?).then(|| (sent.clone(), *known))
        };
        let known: Vec<_> = self.keyed.iter().filter_map(of).collect();
        let chosen = self.random.random_range(0..known.len().max(1));
        known.into_iter().nth(chosen)
    }

    async fn retry(&mut self) -> Result<(), String> {
        let Some((sent, known)) = self.known() else { return self.append_keyed().await };
        let table = self.table(&sent.table).await?;
        let before = self.disk.operation_count();
        let receipt = append(&table, &sent.rows, &sent.how).await.map_err(|e| e.to_string())?;
        if !receipt.repeated || receipt.version.0 != known.version {
            return Err(format!("{receipt:?} for {known:?}"));
        }
        self.reached.repeated += 1;
        self.note("retry", before, Some(sent));
        Ok(())
    }

    async fn append_keyed(&mut self) -> Result<(), String> {
        let name = self.model.facts.keys().next().cloned().unwrap_or_default();
        let key = Some(self.new_key());
        self.append(&name, How { key, ..How::default() }).await
    }

    async fn reuse(&mut self) -> Result<(), String> {
        let Some((sent, _)) = self.known() else { return self.append_keyed().await };
        let rows = self.free_rows(&sent.table);
        let table = self.table(&sent.table).await?;
        let before = self.disk.operation_count();
        let refused = append(&table, &rows, &sent.how).await;
        self.expect(refused.map(|_| ()), ErrorKind::Precondition)?;
        self.note("append id used again", before, None);
        Ok(())
    }

    fn expect(&self, outcome: Result<(), Error>, kind: ErrorKind) -> Result<(), String> {
        match outcome {
            Err(error) if error.kind() == kind => Ok(()),
            other => Err(format!("{other:?} where {kind:?} belongs")),
        }
    }

    async fn skip(&mut self, name: &str, is_large: bool) -> Result<(), String> {
        let Some((owned, _)) = self.owned_row(name) else {
            return self.append(name, How::default()).await;
        };
        let mut rows = self.free_rows(name);
        let free = rows.clone();
        rows.push(owned);
        let how = How { is_large, skips: true, key: Some(self.new_key()) };
        let table = self.table(name).await?;
        let version = self.model.table(name).version + 1;
        let before = self.disk.operation_count();
        let receipt = append(&table, &rows, &how).await.map_err(|error| error.to_string())?;
        self.check_receipt(&receipt, version, free.len(), 1)?;
        self.model.append(name, version, &free, receipt.segment_count == 0);
        let known = Known { version, row_count: free.len() as u64, rows_skipped: 1 };
        self.model.remember(name, how.key.as_ref().unwrap(), known);
        let sent = Sent { table: name.to_owned(), rows, how };
        self.note(format!("skip in {name}"), before, Some(sent));
        Ok(())
    }

    async fn overlap(&mut self, name: &str, is_large: bool) -> Result<(), String> {
        let Some((owned, version)) = self.owned_row(name) else {
            return self.append(name, How::default()).await;
        };
        let mut rows = self.free_rows(name);
        rows.push(owned);
        let table = self.table(name).await?;
        let before = self.disk.operation_count();
        let refused = append(&table, &rows, &How { is_large, ..How::default() }).await;
        self.refused_overlap(refused, version)?;
        self.note(format!("overlap in {name}"), before, None);
        Ok(())
    }

    fn refused_overlap(
        &mut self,
        outcome: Result<Receipt, Error>,
        owner: u64,
    ) -> Result<(), String> {
        let error = outcome.err().ok_or("an overlap was committed")?;
        let overlap = error.overlap().ok_or_else(|| error.to_string())?;
        self.reached.overlaps += 1;
        match overlap.owner_version {
            Some(found) if found == owner => Ok(()),
            found => Err(format!("owned by {found:?}, not by {owner}")),
        }
    }

    async fn conflict(&mut self, name: &str, is_large: bool) -> Result<(), String> {
        let ours = self.table(name).await?;
        if self.model.table(name).rows.is_empty() {
            // A table has its schema before two race for it.
            self.append(name, How::default()).await?;
        }
        let theirs = self.rival(name).await?;
        let rows = self.free_rows(name);
        self.send(&theirs, name, rows, How::default(), 1).await?;
        let rows = self.free_rows(name);
        let key = Some(self.new_key());
        self.send(&ours, name, rows, How { is_large, key, ..How::default() }, 2).await?;
        self.reached.conflicts += 1;
        Ok(())
    }

    async fn late_overlap(&mut self, name: &str) -> Result<(), String> {
        let ours = self.table(name).await?;
        if self.model.table(name).rows.is_empty() {
            self.append(name, How::default()).await?;
        }
        let theirs = self.rival(name).await?;
        let rows = self.free_rows(name);
        self.send(&theirs, name, rows.clone(), How::default(), 1).await?;
        let version = self.model.table(name).version;
        let before = self.disk.operation_count();
        let refused = append(&ours, &rows, &How::default()).await;
        self.refused_overlap(refused, version)?;
        self.reached.conflicts += 1;
        self.note(format!("late overlap in {name}"), before, None);
        Ok(())
    }

    async fn flush(&mut self, name: &str) -> Result<(), String> {
        if self.model.table(name).hot_rows == 0 {
            self.append(name, How::default()).await?;
        }
        let table = self.table(name).await?;
        self.flush_with(&table, name).await
    }

    async fn flush_with(&mut self, table: &Arc<Table>, name: &str) -> Result<(), String> {
        let before = self.disk.operation_count();
        let flushed = table.flush().await.map_err(|error| error.to_string())?;
        if flushed != Some(Version(self.model.table(name).version + 1)) {
            return Err(format!("flushed as {flushed:?}"));
        }
        self.model.flush(name);
        self.reached.flushes += 1;
        self.note(format!("flush of {name}"), before, None);
        Ok(())
    }

    async fn late_flush(&mut self, name: &str) -> Result<(), String> {
        if self.model.table(name).hot_rows == 0 {
            self.append(name, How::default()).await?;
        }
        let ours = self.table(name).await?;
        let theirs = self.rival(name).await?;
        self.flush_with(&theirs, name).await?;
        let before = self.disk.operation_count();
        let flushed = ours.flush().await.map_err(|error| error.to_string())?;
        if flushed.is_some() {
            return Err(format!("flushed twice, again as {flushed:?}"));
        }
        self.reached.conflicts += 1;
        self.note(format!("late flush of {name}"), before, None);
        Ok(())
    }

    async fn checkpoint(&mut self, name: &str) -> Result<(), String> {
        let table = self.table(name).await?;
        let before = self.disk.operation_count();
        table.checkpoint().await.map_err(|error| error.to_string())?;
        self.reached.checkpoints += 1;
        self.note(format!("checkpoint of {name}"), before, None);
        Ok(())
    }

    async fn drop_table(&mut self, name: &str) -> Result<(), String> {
        let before = self.disk.operation_count();
        self.catalog.drop_table(name, "").await.map_err(|error| error.to_string())?;
        self.model.drop_table(name);
        self.reached.drops += 1;
        self.note(format!("drop {name}"), before, None);
        Ok(())
    }

    async fn reopen(&mut self) -> Result<(), String> {
        self.opened += 1;
        let before = self.disk.operation_count();
        self.catalog = open(&self.disk, self.opened).await.map_err(|error| error.to_string())?;
        for name in self.catalog.table_names() {
            self.table(&name).await?;
        }
        self.note("reopen", before, None);
        Ok(())
    }
}

impl Sequence {
    /// What is there when the first `count` changes are done.
    pub(crate) fn facts(&self, count: usize) -> &Facts {
        static NOTHING: Facts = Facts::new();
        match count.checked_sub(1) {
            Some(last) => &self.done[last].after.facts,
            None => &NOTHING,
        }
    }
}
