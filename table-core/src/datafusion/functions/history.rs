//! `table_history('t')`: every commit of a table, from its log.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{TableFunctionArgs, TableProvider};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::TryStreamExt;

use super::table::{count, only_table};
use super::{PinnedTable, SnapshotSource, external};
use crate::error::Error;
use crate::log::record::Action;
use crate::log::{LogStore, Record};
use crate::types::Version;

/// Commits in one batch of the answer.
const BATCH_ROWS: usize = 1024;

/// Batches made ahead of the reader.
const BATCHES_AHEAD: usize = 2;

/// One row for each version up to the one that the statement sees, oldest first: `version`, `commit_time` (microseconds, UTC),
/// `operation`, `principal`, `append_ids` (a list: commits that came together share a version), `rows_added` and `rows_removed`. A
/// flush moves rows and neither adds nor removes any.
pub(super) fn table_history(
    source: &dyn SnapshotSource,
    args: &TableFunctionArgs,
) -> Result<Arc<dyn TableProvider>> {
    let table = only_table(source, "table_history", args)?;
    let text = Arc::new(Field::new("item", DataType::Utf8, false));
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Arc::new(Schema::new(vec![
        Field::new("version", DataType::Int64, false),
        Field::new("commit_time", time, false),
        Field::new("operation", DataType::Utf8, false),
        Field::new("principal", DataType::Utf8, false),
        Field::new("append_ids", DataType::List(text), false),
        Field::new("rows_added", DataType::Int64, false),
        Field::new("rows_removed", DataType::Int64, false),
    ]));
    let commits = Commits { table, schema: Arc::clone(&schema) };
    Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(commits)])?))
}

/// The log of a table up to a version, yet to be read.
struct Commits {
    table: PinnedTable,
    schema: SchemaRef,
}

impl fmt::Debug for Commits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commits")
            .field("table", &self.table.name)
            .field("version", &self.table.snapshot.version)
            .finish_non_exhaustive()
    }
}

impl PartitionStream for Commits {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _ctx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder =
            RecordBatchReceiverStream::builder(Arc::clone(&self.schema), BATCHES_AHEAD);
        let sender = builder.tx();
        let (table, schema) = (self.table.clone(), Arc::clone(&self.schema));
        builder.spawn(async move {
            let log = LogStore::of_table(table.store, table.snapshot.table_id);
            let records = log
                .read_records(Version(1), table.snapshot.version)
                .map_err(|error| external(Error::from(error)));
            let mut batches = std::pin::pin!(records.try_chunks(BATCH_ROWS));
            let mut stored = Rows::default();
            loop {
                let (records, failed) = match batches.try_next().await {
                    Ok(None) => return Ok(()),
                    Ok(Some(records)) => (records, None),
                    // What was read before the record that cannot be.
                    Err(error) => (error.0, Some(error.1)),
                };
                let records: Vec<_> = records.into_iter().map(|stored| stored.record).collect();
                let batch = stored.batch(&schema, &records);
                if sender.send(batch).await.is_err() {
                    // The reader has gone.
                    return Ok(());
                }
                if let Some(error) = failed {
                    return Err(error);
                }
            }
        });
        builder.build()
    }
}

/// Rows of everything that was added and not removed yet, by id.
#[derive(Debug, Default)]
struct Rows(HashMap<Bytes, u64>);

impl Rows {
    /// What a commit added and removed. Rows that one commit both removes and adds have only moved.
    fn change(&mut self, record: &Record) -> (u64, u64) {
        let (mut added, mut removed) = (0_u64, 0_u64);
        for action in &record.actions {
            match action {
                Action::AddSegment(add) => {
                    self.0.insert(add.segment_id.clone(), add.row_count);
                    added = added.saturating_add(add.row_count);
                }
                Action::InlineRows(rows) => {
                    self.0.insert(rows.segment_id.clone(), rows.row_count);
                    added = added.saturating_add(rows.row_count);
                }
                Action::RemoveSegment(remove) => {
                    let count = self.0.remove(&remove.segment_id).unwrap_or_default();
                    removed = removed.saturating_add(count);
                }
                _ => {}
            }
        }
        let moved = added.min(removed);
        (added - moved, removed - moved)
    }

    fn batch(&mut self, schema: &SchemaRef, records: &[Record]) -> Result<RecordBatch> {
        let (added, removed): (Vec<_>, Vec<_>) = records
            .iter()
            .map(|record| self.change(record))
            .map(|(added, removed)| (count(added), count(removed)))
            .unzip();
        let item = Field::new("item", DataType::Utf8, false);
        let mut ids = ListBuilder::new(StringBuilder::new()).with_field(item);
        for record in records {
            for id in &record.append_ids {
                ids.values().append_value(&id.key);
            }
            ids.append(true);
        }
        let text = |of: fn(&Record) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(records.iter().map(of)))
        };
        let versions = records.iter().map(|record| count(record.version.0));
        let times = records.iter().map(|record| record.commit_time_us);
        let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
        Ok(RecordBatch::try_new(
            Arc::clone(schema),
            vec![
                Arc::new(Int64Array::from_iter_values(versions)),
                Arc::new(times),
                text(|record| &record.operation),
                text(|record| &record.principal),
                Arc::new(ids.finish()),
                Arc::new(Int64Array::from(added)),
                Arc::new(Int64Array::from(removed)),
            ],
        )?)
    }
}
