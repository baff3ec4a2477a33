//! [`Ledger`]: appends of known content to one table, what became of each, and whether the table agrees.
//!
//! Every append is one hour of one sensor with a fixed number of rows, so a table says by itself which appends it holds, and
//! whether whole. Fates are those of C2: committed, refused, unknown. Unknown ones are settled by a retry with the same
//! append id (C4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use coverline_proto::flight::OverlapPolicy;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tonic::Code;

use crate::{AppendError, Client, Receipt, TestResult};

const HOUR_US: i64 = 3_600_000_000;

/// Codes that mean "not committed, and never will be" (C2); UNAVAILABLE counts when it comes from the server.
const NOT_COMMITTED: [Code; 11] = [
    Code::InvalidArgument,
    Code::AlreadyExists,
    Code::Aborted,
    Code::FailedPrecondition,
    Code::PermissionDenied,
    Code::Unauthenticated,
    Code::ResourceExhausted,
    Code::OutOfRange,
    Code::NotFound,
    Code::Unimplemented,
    Code::Unavailable,
];

/// What is known of a change after its answer (C2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged.
    Committed,
    /// Not committed, and never will be.
    Refused(Code),
    /// Nobody knows yet.
    Unknown,
}

/// What became of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Committed(Receipt),
    Refused(Code),
    Unknown,
}

/// Answer to an append.
pub type Answer = Result<Receipt, AppendError>;

/// How large every append is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Rows.
    pub rows: usize,
    /// Bytes of random letters in each row.
    pub noise_bytes: usize,
}

impl Size {
    /// A few rows.
    pub const SMALL: Self = Self { rows: 3, noise_bytes: 8 };
    /// Three quarters of a mebibyte: too much to travel inside a record.
    pub const LARGE: Self = Self { rows: 16, noise_bytes: 48 << 10 };
}

/// What one table must hold. A clone knows what the original knew.
#[derive(Debug, Clone)]
pub struct Ledger {
    table: String,
    size: Size,
    fates: BTreeMap<i64, Fate>,
    next_hour: i64,
}

impl Ledger {
    /// A table whose appends are of one size.
    pub fn new(table: impl Into<String>, size: Size) -> Self {
        Self { table: table.into(), size, fates: BTreeMap::new(), next_hour: 0 }
    }

    /// Name of the table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Statement that makes the table.
    pub fn create_sql(&self) -> String {
        format!(
            "CREATE TABLE \"{}\" WITH (index_column = 'ts', bucket = '1h', entity_columns = 'sensor')",
            self.table
        )
    }

    /// Makes the table.
    ///
    /// # Errors
    /// Of the server.
    pub async fn create(&self, client: &Client) -> TestResult {
        client.execute(&self.create_sql()).await.map(|_| ())
    }

    /// An hour that nothing was sent for yet. Its fate is unknown until an answer is recorded.
    pub fn next_hour(&mut self) -> i64 {
        let hour = self.next_hour;
        self.next_hour += 1;
        self.fates.insert(hour, Fate::Unknown);
        hour
    }

    /// The rows of an hour. Hours have different values throughout, and the noise does not compress.
    pub fn batch(&self, hour: i64) -> RecordBatch {
        let Size { rows, noise_bytes } = self.size;
        let mut random = StdRng::seed_from_u64(hour.unsigned_abs());
        let ts = (0..rows as i64).map(|row| hour * HOUR_US + row);
        let ts = TimestampMicrosecondArray::from_iter_values(ts).with_timezone("UTC");
        let noise = (0..rows).map(|_| letters(&mut random, noise_bytes));
        let columns: [(&str, ArrayRef); 4] = [
            ("ts", Arc::new(ts)),
            ("sensor", Arc::new(StringArray::from(vec!["north"; rows]))),
            ("hour", Arc::new(Int64Array::from(vec![hour; rows]))),
            ("noise", Arc::new(StringArray::from_iter_values(noise))),
        ];
        // The lengths are equal by construction.
        RecordBatch::try_from_iter(columns).unwrap_or_else(|_| unreachable!())
    }

    /// The append id of an hour.
    pub fn append_id(&self, hour: i64) -> String {
        format!("{}/{hour}", self.table)
    }

    /// Sends an hour, first or once more.
    ///
    /// # Errors
    /// Of the append; what to make of it is for [`Ledger::record`].
    pub async fn send(&self, client: &Client, hour: i64) -> Answer {
        let batches = vec![self.batch(hour)];
        client.append(&self.table, OverlapPolicy::Reject, &self.append_id(hour), batches).await
    }

    /// Takes note of an answer, which must be one of the three outcomes of C2 and say so in its details.
    ///
    /// # Errors
    /// When it is none of them, or goes against what is known of this hour.
    pub fn record(&mut self, hour: i64, answer: &Answer) -> TestResult<Outcome> {
        let outcome = outcome_of(answer)?;
        if let Err(AppendError::Refused { details, .. }) = answer
            && !details.contains_key("committed")
        {
            return Err(format!("{answer:?} does not say whether rows were committed").into());
        }
        let known = self.fates.entry(hour).or_insert(Fate::Unknown);
        match (&*known, answer, outcome) {
            (Fate::Committed(first), Ok(again), _) => {
                let expected = Receipt { repeated: true, ..first.clone() };
                if expected != *again {
                    return Err(format!("hour {hour}: {first:?}, then {again:?}").into());
                }
            }
            (Fate::Committed(_), _, Outcome::Refused(code)) => {
                return Err(format!("hour {hour} is committed and was refused by {code:?}").into());
            }
            (_, Ok(receipt), _) => *known = Fate::Committed(receipt.clone()),
            (_, _, Outcome::Refused(code)) => *known = Fate::Refused(code),
            // Knows no more than before.
            _ => {}
        }
        Ok(outcome)
    }

    /// Sends the next hour, which must be committed: the table is not wedged.
    ///
    /// # Errors
    /// When it is not.
    pub async fn append(&mut self, client: &Client) -> TestResult<i64> {
        let hour = self.next_hour();
        let answer = self.send(client, hour).await;
        self.record(hour, &answer)?;
        match &answer {
            Ok(receipt) if !receipt.repeated => Ok(hour),
            _ => Err(format!("table {} is wedged: hour {hour}: {answer:?}", self.table).into()),
        }
    }

    /// Sends the next hours in one stream, each a version of its own and without append id.
    ///
    /// # Errors
    /// When one of them is not committed.
    pub async fn append_many(&mut self, client: &Client, count: usize) -> TestResult {
        let hours: Vec<_> = (0..count).map(|_| self.next_hour()).collect();
        let batches = hours.iter().map(|hour| self.batch(*hour)).collect();
        let sent = client.append_each(&self.table, batches).await;
        let receipts = sent.map_err(|error| format!("{}: {error:?}", self.table))?;
        for (hour, receipt) in hours.iter().zip(receipts) {
            self.fates.insert(*hour, Fate::Committed(receipt));
        }
        Ok(())
    }

    /// Hours whose fate is unknown.
    pub fn unknown(&self) -> Vec<i64> {
        let unknown = self.fates.iter().filter(|(_, fate)| **fate == Fate::Unknown);
        unknown.map(|(hour, _)| *hour).collect()
    }

    /// Hours that are committed.
    pub fn committed_count(&self) -> usize {
        self.fates.values().filter(|fate| matches!(fate, Fate::Committed(_))).count()
    }

    /// The newest version that an append was acknowledged as; 0 without any.
    pub fn newest_version(&self) -> u64 {
        let versions = self.fates.values().map(|fate| match fate {
            Fate::Committed(receipt) => receipt.version,
            Fate::Refused(_) | Fate::Unknown => 0,
        });
        versions.max().unwrap_or(0)
    }

    /// Compares the table with what is known: every committed hour whole and once, no refused one, nothing else. Returns the
    /// hours of unknown fate that it holds.
    ///
    /// # Errors
    /// When they differ.
    pub async fn check(&self, client: &Client) -> TestResult<BTreeSet<i64>> {
        let mut stored = BTreeSet::new();
        for (hour, row_count) in self.stored(client).await? {
            if row_count != self.size.rows as i64 {
                return Err(format!("{}: hour {hour} has {row_count} rows", self.table).into());
            }
            stored.insert(hour);
        }
        let mut found = BTreeSet::new();
        for (hour, fate) in &self.fates {
            match (fate, stored.remove(hour)) {
                (Fate::Committed(_), true) | (Fate::Refused(_) | Fate::Unknown, false) => {}
                (Fate::Unknown, true) => {
                    found.insert(*hour);
                }
                (fate, _) => {
                    let there = if matches!(fate, Fate::Committed(_)) { "lost" } else { "there" };
                    return Err(format!("{}: hour {hour} is {there}: {fate:?}", self.table).into());
                }
            }
        }
        match stored.first() {
            None => Ok(found),
            Some(hour) => Err(format!("{}: hour {hour} was never sent", self.table).into()),
        }
    }

    /// Sends every hour of unknown fate again. Those that the table holds must be answered by the first receipt, the others be
    /// committed now. Returns how many there were.
    ///
    /// # Errors
    /// When they are not.
    pub async fn settle(&mut self, client: &Client, found: &BTreeSet<i64>) -> TestResult<usize> {
        let unknown = self.unknown();
        for hour in &unknown {
            let answer = self.send(client, *hour).await;
            self.record(*hour, &answer)?;
            match &answer {
                Ok(receipt) if receipt.repeated == found.contains(hour) => {}
                _ => {
                    let there = if found.contains(hour) { "there" } else { "absent" };
                    return Err(format!(
                        "{}: hour {hour} is {there}, its retry gave {answer:?}",
                        self.table
                    )
                    .into());
                }
            }
        }
        Ok(unknown.len())
    }

    /// Distinct rows of each hour, checked to lie in their hour.
    async fn stored(&self, client: &Client) -> TestResult<BTreeMap<i64, i64>> {
        let mut stored = BTreeMap::new();
        if self.committed_count() == 0 && self.is_empty(client).await? {
            // Without its first append the table has no columns to name.
            return Ok(stored);
        }
        let sql = format!(
            "SELECT hour, count(*), count(DISTINCT ts), min(CAST(ts AS BIGINT)) FROM \"{}\" GROUP BY hour",
            self.table
        );
        for batch in client.sql(&sql).await? {
            let columns: Vec<&Int64Array> = batch
                .columns()
                .iter()
                .map(|column| column.as_any().downcast_ref().ok_or("not an integer"))
                .collect::<Result<_, _>>()?;
            for row in 0..batch.num_rows() {
                let [hour, count, distinct, first] = [0, 1, 2, 3].map(|c| columns[c].value(row));
                if distinct != count || first != hour * HOUR_US {
                    return Err(format!(
                        "{}: hour {hour} has {count} rows, {distinct} of them different, from {first}",
                        self.table
                    )
                    .into());
                }
                stored.insert(hour, count);
            }
        }
        Ok(stored)
    }

    async fn is_empty(&self, client: &Client) -> TestResult<bool> {
        let batches = client.sql(&format!("SELECT count(*) FROM \"{}\"", self.table)).await?;
        let count = batches.first().ok_or("no count")?.column(0);
        let count: &Int64Array = count.as_any().downcast_ref().ok_or("not an integer")?;
        Ok(count.value(0) == 0)
    }
}

fn letters(random: &mut StdRng, length: usize) -> String {
    let mut bytes = vec![0; length];
    random.fill_bytes(&mut bytes);
    bytes.into_iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

/// Which of the three outcomes an answer is.
///
/// # Errors
/// When its code and its details contradict each other.
pub fn outcome_of<T>(answer: &Result<T, AppendError>) -> TestResult<Outcome> {
    match answer {
        Ok(_) => Ok(Outcome::Committed),
        Err(AppendError::Unknown(_)) => Ok(Outcome::Unknown),
        Err(AppendError::Refused { code, message, details, .. }) => {
            let committed = details.get("committed").map(String::as_str);
            match (committed, NOT_COMMITTED.contains(code)) {
                (Some("no") | None, true) => Ok(Outcome::Refused(*code)),
                (Some("unknown") | None, false) => Ok(Outcome::Unknown),
                _ => Err(format!(
                    "{code:?} ({message}) with committed={committed:?} is none of the three outcomes"
                )
                .into()),
            }
        }
    }
}
