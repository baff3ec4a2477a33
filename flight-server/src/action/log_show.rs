//! `coverline.LogShow`: a table's commit records, one result each, oldest first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use serde_json::Value;
use table_core::types::Version;
use table_core::{Catalog, Table};
use tonic::Status;

use super::Answer;
use super::json::{Body, encode};
use crate::status;

pub(super) const NAME: &str = "coverline.LogShow";
pub(super) const TEXT: &str = "Shows a table's commit records. Body: JSON {table, first, last}; bounds are versions, both optional. Results: one record each.";

/// Records read at once; a log can be longer than memory.
const RECORDS_AT_ONCE: u64 = 64;

pub(super) async fn run(
    catalog: &Arc<Catalog>,
    body: &[u8],
    max_staleness: Duration,
) -> Result<Answer, Status> {
    let mut body = Body::parse(NAME, body)?;
    let table = body.required("table")?;
    let first = body.number("first")?.unwrap_or(1).max(1);
    let last = body.number("last")?;
    body.finish()?;
    let table = catalog.fresh_table(&table, max_staleness).await;
    let table = table.map_err(|error| status::core(&error))?;
    let newest = table.snapshot().version.0;
    let reader = Reader {
        table,
        next: first,
        last: last.unwrap_or(newest).min(newest),
        read: VecDeque::new(),
    };
    // The first page is read here, so that a wrong bound is an error of the call and not of its stream.
    let reader = reader.page().await?;
    Ok(stream::try_unfold(reader, Reader::step).boxed())
}

struct Reader {
    table: Arc<Table>,
    next: u64,
    last: u64,
    read: VecDeque<Value>,
}

impl Reader {
    async fn step(mut self) -> Result<Option<(arrow_flight::Result, Self)>, Status> {
        if self.read.is_empty() && self.next <= self.last {
            self = self.page().await?;
        }
        Ok(self
            .read
            .pop_front()
            .map(|record| (arrow_flight::Result { body: encode(&record).into() }, self)))
    }

    async fn page(mut self) -> Result<Self, Status> {
        let end = self.next.saturating_add(RECORDS_AT_ONCE - 1).min(self.last);
        let records = self.table.log_json(Version(self.next), Version(end)).await;
        self.read = records.map_err(|error| status::core(&error))?.into();
        self.next = end.saturating_add(1).max(self.next);
        Ok(self)
    }
}
