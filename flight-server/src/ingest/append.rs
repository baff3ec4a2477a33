//! Runs one append: messages in, receipts out.
//!
//! Rows are written as they arrive. Nothing is read ahead, so a client that sends faster than the table takes is held back by
//! the connection's flow control. Everything here is dropped when the client goes away, and a dropped append commits
//! nothing; once a commit has started it finishes by itself.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow_flight::{FlightData, PutResult};
use coverline_proto::flight::AppendReceipt;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use prost::Message;
use table_core::append::{Append, AppendRequest, Receipt};
use table_core::schema::TableSpec;
use table_core::types::Version;
use table_core::{Catalog, Error, ErrorKind, Table, Workers};
use tonic::Status;
use tracing::info;

use super::decode::{DecodeLimits, GuardedDecoder};
use super::request::{Existing, PutRequest};
use crate::target::{self, Target};
use crate::{auth, limits, status};

/// Metadata key that gives a column a meaning beyond its type.
const EXTENSION_KEY: &str = "ARROW:extension:name";

/// `FlightData.app_metadata` of a message without Arrow header by which a client gives its append up; see flight.proto.
const ABORT_MARK: &[u8] = b"coverline:abort";

type Messages = BoxStream<'static, Result<FlightData, Status>>;
type Answer = BoxStream<'static, Result<PutResult, Status>>;

/// Appends a stream to the table that the request names.
///
/// # Errors
/// What stops an append before its first row. Later errors end the stream that is returned.
pub(super) async fn run(
    catalog: &Arc<Catalog>,
    request: PutRequest,
    first: FlightData,
    rest: Messages,
) -> Result<Answer, Status> {
    let workers = catalog.store().workers();
    let mut incoming = Incoming::new(first, rest, limits::APPEND_IDLE_TIME, workers);
    let found = find(catalog, &request).await?;
    let Some(schema) = incoming.schema().await? else {
        if let Some(table) = found.as_ref().filter(|table| is_replaced(table, &request)) {
            return Err(status::append(&nothing_to_replace_with(table)));
        }
        // A reader without rows may send neither schema nor batch. What is not described cannot be created.
        let (table, version) = match &found {
            Some(table) => (table.name(), table.snapshot().version),
            None => (request.table.clone(), Version::default()),
        };
        return Ok(stream::iter([Ok(put_result(&nothing_written(table, version)))]).boxed());
    };
    check_extensions(&schema).map_err(|error| status::append(&error))?;
    let target = match found {
        Some(table) if !is_replaced(&table, &request) => Target::existing(table),
        old => {
            let created = create(catalog, &request, &schema, old.as_deref()).await;
            created.map_err(|error| status::commit(&error))?
        }
    };
    let catalog = Arc::clone(catalog);
    let series = Series { catalog, target, request, schema, incoming, receipts: 0, done: false };
    Ok(stream::unfold(series, Series::step).boxed())
}

/// The table, when it is there and may be appended to or replaced; `None` when it is to be created. What others committed to it
/// is known then, so that an overlap with that shows at the first batch.
async fn find(catalog: &Arc<Catalog>, request: &PutRequest) -> Result<Option<Arc<Table>>, Status> {
    let found = match catalog.fresh_table(&request.table, Duration::ZERO).await {
        Ok(table) => check_existing(&table, request).map(|()| Some(table)),
        Err(error) if error.kind() == ErrorKind::NotFound && request.mode.create => Ok(None),
        Err(error) => Err(error),
    };
    found.map_err(|error| status::append(&error))
}

/// Whether a table that is there may be appended to or replaced.
fn check_existing(table: &Table, request: &PutRequest) -> Result<(), Error> {
    match request.mode.existing {
        Existing::Fail if !is_retry(table, request) => {
            let name = &request.table;
            Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("table \"{name}\" exists; append to it, or choose another name"),
            ))
        }
        Existing::Replace if is_replaced(table, request) => Ok(()),
        _ => check_spec(table, request.spec.as_ref()),
    }
}

/// Whether another table is to take the place of this one. Not of one that is the work of this append's first try, which the
/// commit then answers for.
fn is_replaced(table: &Table, request: &PutRequest) -> bool {
    request.mode.existing == Existing::Replace && !is_retry(table, request)
}

/// Some clients send nothing at all when there are no rows. A table of no known columns cannot take the place of one with rows.
fn nothing_to_replace_with(table: &Table) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!(
            "nothing was sent, not even which columns there are, so table \"{}\" was not replaced; send at least one batch, which \
             may have no rows, or empty the table with CREATE OR REPLACE TABLE",
            table.name()
        ),
    )
}

/// Whether the table knows the id of the first commit of this append.
fn is_retry(table: &Table, request: &PutRequest) -> bool {
    let id = request.commit_id(0);
    id.is_some_and(|id| table.snapshot().append_id(auth::ANONYMOUS, &id).is_some())
}

/// An append that says how its table is made must mean the table that is there: silently using another bucket would change
/// what counts as an overlap.
fn check_spec(table: &Table, asked: Option<&TableSpec>) -> Result<(), Error> {
    asked.map_or(Ok(()), |asked| {
        check_same(table, asked, "leave these options out to append to it as it is")
    })
}

/// Whether a table that is there is what a creation asks for.
///
/// # Errors
/// `Precondition` with both specs.
pub(crate) fn check_made_so(table: &Table, asked: &TableSpec) -> Result<(), Error> {
    check_same(table, asked, "use it as it is, or choose another name")
}

fn check_same(table: &Table, asked: &TableSpec, advice: &str) -> Result<(), Error> {
    let snapshot = table.snapshot();
    if *asked == *snapshot.spec {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Precondition,
        format!(
            "table \"{}\" exists with {}, not with {} as asked; {advice}",
            table.name(),
            describe(&snapshot.spec),
            describe(asked),
        ),
    ))
}

fn describe(spec: &TableSpec) -> String {
    match &spec.index {
        None => "no index".to_owned(),
        Some(index) => format!(
            "index column \"{}\", bucket {}, entity columns [{}], time zone \"{}\"",
            index.column,
            index.bucket,
            index.entity_columns.join(", "),
            index.time_zone
        ),
    }
}

/// Extension types carry a meaning that a table would lose without a word.
fn check_extensions(schema: &Schema) -> Result<(), Error> {
    fn extension(field: &FieldRef) -> Option<(&str, &str)> {
        if let Some(name) = field.metadata().get(EXTENSION_KEY) {
            return Some((field.name(), name));
        }
        match field.data_type() {
            DataType::List(child)
            | DataType::LargeList(child)
            | DataType::ListView(child)
            | DataType::LargeListView(child)
            | DataType::FixedSizeList(child, _)
            | DataType::Map(child, _) => extension(child),
            DataType::Struct(children) => children.iter().find_map(extension),
            _ => None,
        }
    }
    match schema.fields().iter().find_map(extension) {
        None => Ok(()),
        Some((column, name)) => Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "column \"{column}\" has the extension type \"{name}\", which tables do not keep; cast it to its storage type"
            ),
        )),
    }
}

/// A new table; one that replaces another is made as that was, unless the request says how. Most clients that replace cannot
/// say it, and a series that became a plain table would take everything twice from then on.
async fn create(
    catalog: &Arc<Catalog>,
    request: &PutRequest,
    schema: &SchemaRef,
    old: Option<&Table>,
) -> Result<Target, Error> {
    let name = &request.table;
    let kept = || old.map(|table| (*table.snapshot().spec).clone());
    let spec = request.spec.clone().or_else(kept).unwrap_or_else(TableSpec::plain);
    let is_series = spec.index.is_some();
    let adopted = Some(Arc::clone(schema));
    let created = match request.mode.existing {
        // Others may be about to append to the same new table: they are to find it, not to lose against it.
        Existing::Append => Target::create_for_all(catalog, name, spec, adopted).await,
        Existing::Fail => {
            Target::create(catalog, name, spec, adopted, target::Existing::Stays).await
        }
        Existing::Replace => {
            let seen = old.map(Table::id);
            let is_made_alike = request.spec.is_none() && old.is_some();
            let replaced = target::Existing::IsReplaced { seen, is_made_alike };
            Target::create(catalog, name, spec, adopted, replaced).await
        }
    };
    match created {
        Ok(target) => Ok(target),
        // Somebody else was faster; with create-or-append that is as good as having been first.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let table = catalog.fresh_table(&request.table, Duration::ZERO).await?;
            check_existing(&table, request)?;
            Ok(Target::existing(table))
        }
        Err(error) => Err(match old {
            Some(old)
                if is_series && request.spec.is_none() && error.kind() == ErrorKind::Invalid =>
            {
                let made = describe(&old.snapshot().spec);
                Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "{error}; the table that it replaces has {made}, which is kept: send rows that go with that, give options \
                         that say how the new table is made, or drop the old one first"
                    ),
                )
            }
            _ => error,
        }),
    }
}

/// The commits of one stream: one at its end, or one after each batch.
struct Series {
    catalog: Arc<Catalog>,
    target: Target,
    request: PutRequest,
    schema: SchemaRef,
    incoming: Incoming,
    receipts: u64,
    done: bool,
}

impl Series {
    /// The next receipt, or the error that ends the stream.
    async fn step(mut self) -> Option<(Result<PutResult, Status>, Self)> {
        if self.done {
            return None;
        }
        let next = match self.request.commit_each_batch {
            true => self.next_batch().await,
            false => self.whole_stream().await.map(Some),
        };
        match next {
            Ok(Some(receipt)) => {
                self.receipts += 1;
                let result = put_result(&receipt);
                Some((Ok(result), self))
            }
            Ok(None) => None,
            Err(status) => {
                self.done = true;
                let status = match self.target.undo().await {
                    true => status::table_stays(status, &self.request.table),
                    false => status,
                };
                // What was acknowledged stays, whatever became of the rest.
                let status = match self.request.commit_each_batch {
                    true => status::after_batches(status, self.receipts),
                    false => status,
                };
                Some((Err(status), self))
            }
        }
    }

    async fn whole_stream(&mut self) -> Result<Receipt, Status> {
        self.done = true;
        let mut append = self.target.table().append(self.append_request());
        append.begin(&self.schema).await.map_err(|error| status::append(&error))?;
        while let Some(batch) = self.incoming.batch().await? {
            append.write(batch).await.map_err(|error| status::append(&error))?;
        }
        self.commit(append).await
    }

    /// Commits the next batch by itself. A stream without batches is one empty append, which adopts its schema.
    async fn next_batch(&mut self) -> Result<Option<Receipt>, Status> {
        let batch = self.incoming.batch().await?;
        if batch.is_none() {
            self.done = true;
            if self.receipts > 0 {
                return Ok(None);
            }
        }
        if self.receipts > 0 {
            let looked = look(&self.catalog, self.target.table()).await;
            looked.map_err(|error| status::append(&error))?;
        }
        let mut append = self.target.table().append(self.append_request());
        append.begin(&self.schema).await.map_err(|error| status::append(&error))?;
        if let Some(batch) = batch {
            append.write(batch).await.map_err(|error| status::append(&error))?;
        }
        self.commit(append).await.map(Some)
    }

    /// The next commit.
    fn append_request(&self) -> AppendRequest {
        AppendRequest {
            on_overlap: self.request.on_overlap,
            append_id: self.request.commit_id(self.receipts),
            principal: auth::ANONYMOUS.to_owned(),
            creates: self.target.is_unnamed(),
        }
    }

    async fn commit(&mut self, append: Append) -> Result<Receipt, Status> {
        let committed = self.target.commit(append).await;
        let receipt = committed.map_err(|error| status::commit(&error))?;
        info!(
            table = receipt.table,
            version = receipt.version.0,
            rows = receipt.row_count,
            rows_skipped = receipt.rows_skipped,
            repeated = receipt.repeated,
            "appended"
        );
        Ok(receipt)
    }
}

/// Learns what others did since the last commit of a stream, which may last for days: they may have dropped the table.
async fn look(catalog: &Catalog, table: &Table) -> Result<(), Error> {
    let (listed, followed) = (catalog.refresh(Duration::ZERO), table.refresh(Duration::ZERO));
    tokio::try_join!(listed, followed).map(drop)
}

fn put_result(receipt: &Receipt) -> PutResult {
    let receipt = AppendReceipt {
        record_count: i64::try_from(receipt.row_count).unwrap_or(i64::MAX),
        table: receipt.table.clone(),
        version: receipt.version.0,
        rows_skipped: receipt.rows_skipped,
        buckets_covered: receipt.buckets_covered,
        segment_count: receipt.segment_count,
        repeated: receipt.repeated,
    };
    PutResult { app_metadata: receipt.encode_to_vec().into() }
}

fn nothing_written(table: String, version: Version) -> Receipt {
    Receipt {
        table,
        version,
        row_count: 0,
        rows_skipped: 0,
        buckets_covered: 0,
        segment_count: 0,
        repeated: false,
    }
}

/// The messages of one stream, decoded one at a time.
pub(super) struct Incoming {
    first: Option<FlightData>,
    rest: Messages,
    /// `None` only while a message is being decoded on another thread.
    decoder: Option<GuardedDecoder>,
    idle_time: Duration,
    workers: Workers,
}

impl Incoming {
    pub(super) fn new(
        first: FlightData,
        rest: Messages,
        idle_time: Duration,
        workers: Workers,
    ) -> Self {
        let decoder = Some(GuardedDecoder::new(DecodeLimits::default()));
        Self { first: Some(first), rest, decoder, idle_time, workers }
    }

    /// Reads up to the schema; `None` when the stream ends without one.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, or what the transport says; each with the word that nothing was
    /// committed.
    pub(super) async fn schema(&mut self) -> Result<Option<SchemaRef>, Status> {
        loop {
            if let Some(schema) = self.decoder.as_ref().and_then(GuardedDecoder::schema) {
                return Ok(Some(Arc::clone(schema)));
            }
            if self.next().await.map_err(status::not_committed)?.is_none() {
                return Ok(None);
            }
        }
    }

    /// The next batch; `None` at the end of the stream.
    ///
    /// # Errors
    /// See [`Incoming::schema`].
    pub(super) async fn batch(&mut self) -> Result<Option<RecordBatch>, Status> {
        while let Some(decoded) = self.next().await.map_err(status::not_committed)? {
            if decoded.is_some() {
                return Ok(decoded);
            }
        }
        Ok(None)
    }

    /// The next message; `None` at the end of the stream. Not every message has a batch.
    async fn next(&mut self) -> Result<Option<Option<RecordBatch>>, Status> {
        match self.message().await? {
            Some(message) => self.decode(message).await.map(Some),
            None => Ok(None),
        }
    }

    async fn message(&mut self) -> Result<Option<FlightData>, Status> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        match tokio::time::timeout(self.idle_time, self.rest.next()).await {
            Ok(message) => message.transpose(),
            Err(_) => Err(status::deadline(format!(
                "no message came for {} s, so the append was given up and nothing was committed; append again",
                self.idle_time.as_secs()
            ))),
        }
    }

    async fn decode(&mut self, message: FlightData) -> Result<Option<RecordBatch>, Status> {
        if message.data_header.is_empty() && message.app_metadata.as_ref() == ABORT_MARK {
            return Err(status::append(&Error::new(
                ErrorKind::Invalid,
                "the client gave the append up, so nothing of it was committed",
            )));
        }
        let Some(mut decoder) = self.decoder.take() else {
            return Err(status::internal("a decoder is gone"));
        };
        let (decoder, decoded) = if message.data_body.len() < limits::DECODE_INLINE_BYTES_MAX {
            let decoded = decoder.push(message);
            (decoder, decoded)
        } else {
            let work = self.workers.start(move || {
                let decoded = decoder.push(message);
                (decoder, decoded)
            });
            work.await.map_err(|_| status::internal("decoding a batch failed"))?
        };
        self.decoder = Some(decoder);
        decoded.map_err(|error| status::append(&error.into()))
    }
}

#[cfg(test)]
mod tests;
