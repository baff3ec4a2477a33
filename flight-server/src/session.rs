//! Per-client state: prepared statements, bounded in number, in life and in what is bound to them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayData};

use arrow::record_batch::RecordBatch;
use dashmap::DashMap;
use parking_lot::Mutex;
use tonic::Status;
use uuid::Uuid;

use crate::limits;
use crate::query::source::Source;
use crate::status;

/// How often the statements are purged in the life of one.
const PURGES_PER_LIFE: u32 = 1_000;

/// A prepared statement. Its plan is made anew for every use, over the newest versions.
#[derive(Debug)]
pub(crate) struct PreparedStatement {
    /// As it was written.
    pub(crate) source: Source,
    /// How many parameters it has.
    pub(crate) parameter_count: usize,
    bound: Mutex<Bound>,
    last_used: Mutex<Instant>,
}

impl PreparedStatement {
    /// The parameters bound last.
    pub(crate) fn parameters(&self) -> Vec<RecordBatch> {
        self.bound.lock().batches.clone()
    }

    fn is_older_than(&self, age: Duration) -> bool {
        self.last_used.lock().elapsed() >= age
    }
}

/// Rows of parameters, as bound last; none before the first bind. Their memory counts until they are replaced or dropped.
#[derive(Debug)]
struct Bound {
    batches: Vec<RecordBatch>,
    bytes: usize,
    /// Of all statements of the server.
    total_bytes: Arc<AtomicUsize>,
}

impl Bound {
    fn nothing(total_bytes: &Arc<AtomicUsize>) -> Self {
        Self { batches: Vec::new(), bytes: 0, total_bytes: Arc::clone(total_bytes) }
    }

    /// Replaces the parameters unless all statements together would then hold too much; says whether it did.
    fn replace(&mut self, batches: &[RecordBatch]) -> bool {
        let bytes = held_bytes(batches);
        let fits = |total: usize| {
            let total = total.saturating_sub(self.bytes).saturating_add(bytes);
            (total <= limits::BOUND_PARAMETER_BYTES_MAX).then_some(total)
        };
        let reserved =
            self.total_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if reserved {
            self.batches = batches.to_vec();
            self.bytes = bytes;
        }
        reserved
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.total_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Memory that batches keep alive. Columns decoded from one message share its memory, which counts once.
fn held_bytes(batches: &[RecordBatch]) -> usize {
    fn visit(data: &ArrayData, allocations: &mut HashMap<usize, usize>) {
        let nulls = data.nulls().map(|nulls| nulls.buffer());
        for buffer in data.buffers().iter().chain(nulls) {
            allocations.insert(buffer.data_ptr().as_ptr().addr(), buffer.capacity());
        }
        for child in data.child_data() {
            visit(child, allocations);
        }
    }
    let mut allocations = HashMap::new();
    for column in batches.iter().flat_map(RecordBatch::columns) {
        visit(&column.to_data(), &mut allocations);
    }
    allocations.values().fold(0, |sum: usize, bytes| sum.saturating_add(*bytes))
}

/// The prepared statements that a server keeps, by the id in their handle.
#[derive(Debug)]
pub(crate) struct PreparedStatements {
    by_id: DashMap<Uuid, Arc<PreparedStatement>>,
    /// When those were closed that were closed of late: their handles would bring them back otherwise.
    closed: Mutex<HashMap<Uuid, Instant>>,
    /// What is bound to all of them.
    bound_bytes: Arc<AtomicUsize>,
    /// How long an unused one lives.
    life: Duration,
    /// When those were last looked for whose life is over.
    purged: Mutex<Instant>,
}

impl Default for PreparedStatements {
    fn default() -> Self {
        Self {
            by_id: DashMap::default(),
            closed: Mutex::default(),
            bound_bytes: Arc::default(),
            life: limits::PREPARED_STATEMENT_TTL,
            purged: Mutex::new(Instant::now()),
        }
    }
}

impl PreparedStatements {
    /// Keeps a statement.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when too many are alive.
    pub(crate) fn insert(
        &self,
        id: Uuid,
        source: Source,
        parameter_count: usize,
    ) -> Result<Arc<PreparedStatement>, Status> {
        self.purge_if_due();
        if self.by_id.len() >= limits::PREPARED_STATEMENTS_MAX {
            return Err(status::exhausted(format!(
                "{} prepared statements are open; close those that are done",
                limits::PREPARED_STATEMENTS_MAX
            )));
        }
        let statement = Arc::new(PreparedStatement {
            source,
            parameter_count,
            bound: Mutex::new(Bound::nothing(&self.bound_bytes)),
            last_used: Mutex::new(Instant::now()),
        });
        // Two who bring one back at the same time have the same one.
        Ok(Arc::clone(&self.by_id.entry(id).or_insert(statement)))
    }

    /// A statement that is kept.
    pub(crate) fn get(&self, id: Uuid) -> Option<Arc<PreparedStatement>> {
        let found = self.by_id.get(&id).map(|entry| Arc::clone(entry.value()));
        let statement = found.filter(|statement| !statement.is_older_than(self.life))?;
        *statement.last_used.lock() = Instant::now();
        Some(statement)
    }

    /// Whether a statement was closed of late.
    pub(crate) fn is_closed(&self, id: Uuid) -> bool {
        self.closed.lock().contains_key(&id)
    }

    /// Forgets a statement for good; one that is not known may be kept by another server.
    pub(crate) fn close(&self, id: Uuid) {
        self.by_id.remove(&id);
        self.purge_if_due();
        let mut closed = self.closed.lock();
        if closed.len() < limits::PREPARED_STATEMENTS_MAX {
            closed.insert(id, Instant::now());
        }
    }

    /// Replaces the parameters bound to a statement.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when too much is bound to all statements together; then what was bound before stays.
    pub(crate) fn bind(
        &self,
        statement: &PreparedStatement,
        batches: &[RecordBatch],
    ) -> Result<(), Status> {
        let bind = || statement.bound.lock().replace(batches);
        if bind() {
            return Ok(());
        }
        self.purge();
        if bind() {
            return Ok(());
        }
        Err(status::exhausted(format!(
            "the parameters bound to all prepared statements would take more than {} bytes; close statements that are done, \
             or bind fewer rows at a time",
            limits::BOUND_PARAMETER_BYTES_MAX
        )))
    }

    /// Purges now and then: to look at all of them for each one that comes and goes makes every one slower, the more there are.
    fn purge_if_due(&self) {
        let is_full = self.by_id.len() >= limits::PREPARED_STATEMENTS_MAX;
        let is_due = self.purged.lock().elapsed() >= self.life / PURGES_PER_LIFE;
        if is_full || is_due {
            self.purge();
        }
    }

    /// Forgets the statements that nobody has used for long, and that others were closed long ago.
    fn purge(&self) {
        *self.purged.lock() = Instant::now();
        self.by_id.retain(|_, statement| !statement.is_older_than(self.life));
        self.closed.lock().retain(|_, at| at.elapsed() < self.life);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use arrow::array::Int64Array;
    use tonic::Code;

    use super::*;

    /// A quarter of what all statements may hold. Zeros, so that no memory is really used.
    fn quarter() -> Vec<RecordBatch> {
        let values = vec![0_i64; limits::BOUND_PARAMETER_BYTES_MAX / 4 / size_of::<i64>()];
        let column = Arc::new(Int64Array::from(values)) as _;
        // Two columns over the same memory, as in a decoded message.
        vec![RecordBatch::try_from_iter([("a", Arc::clone(&column)), ("b", column)]).unwrap()]
    }

    fn open(statements: &PreparedStatements) -> (Uuid, Arc<PreparedStatement>) {
        let handle = Uuid::new_v4();
        let inserted = statements.insert(handle, "SELECT ?".into(), 1).unwrap();
        let found = statements.get(handle).unwrap();
        assert!(Arc::ptr_eq(&inserted, &found));
        (handle, found)
    }

    fn held(statements: &PreparedStatements) -> usize {
        statements.bound_bytes.load(Ordering::Relaxed)
    }

    #[test]
    fn what_is_bound_to_all_statements_is_bounded_and_given_back() {
        let mut statements = PreparedStatements::default();
        let rows = quarter();
        let mut all: Vec<_> = (0..4).map(|_| open(&statements)).collect();
        for (_, statement) in &all {
            statements.bind(statement, &rows).unwrap();
        }
        assert_eq!(held(&statements), limits::BOUND_PARAMETER_BYTES_MAX);
        let (_, late) = open(&statements);
        let one = &[rows[0].slice(0, 1)];
        assert_eq!(statements.bind(&late, one).unwrap_err().code(), Code::ResourceExhausted);
        assert!(late.parameters().is_empty());

        // Binding again replaces: the old rows do not count beside the new ones.
        statements.bind(&all[0].1, &rows).unwrap();
        statements.bind(&all[0].1, &[]).unwrap();
        statements.bind(&late, &rows).unwrap();
        assert_eq!(held(&statements), limits::BOUND_PARAMETER_BYTES_MAX);

        let (closed, statement) = all.pop().unwrap();
        drop(statement);
        statements.close(closed);
        assert!(statements.is_closed(closed) && statements.get(closed).is_none());
        assert_eq!(held(&statements), limits::BOUND_PARAMETER_BYTES_MAX / 4 * 3);

        // A new statement makes those go that nobody has used for long.
        drop((all, late));
        statements.life = Duration::ZERO;
        statements.insert(Uuid::new_v4(), "SELECT 1".into(), 0).unwrap();
        assert_eq!(held(&statements), 0);
        assert_eq!(statements.by_id.len(), 1);
    }

    #[test]
    fn statements_that_expired_make_room_for_parameters() {
        let mut statements = PreparedStatements::default();
        let rows = quarter();
        for _ in 0..4 {
            statements.bind(&open(&statements).1, &rows).unwrap();
        }
        let (_, last) = open(&statements);
        statements.life = Duration::ZERO;
        statements.bind(&last, &rows).unwrap();
        assert_eq!(held(&statements), limits::BOUND_PARAMETER_BYTES_MAX / 4);
    }
}
