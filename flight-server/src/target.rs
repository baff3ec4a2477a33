//! [`Target`]: the table that an append goes to, which does not stay when it was made for that append and nothing came of it.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use table_core::append::{Append, Receipt, first_try};
use table_core::schema::TableSpec;
use table_core::types::{TableId, Version};
use table_core::{Catalog, Error, ErrorKind, Namesake, Table};
use tracing::{info, warn};

use crate::{auth, limits};

/// The version that a creation makes. Asking the new table for its newest one would take an append that came right after for
/// part of the creation.
const CREATION: Version = Version(1);

/// The table appended to. One that was created for the append goes with it when the append fails or its client goes away, so
/// that a retry finds what the first try found.
#[derive(Debug)]
pub(crate) struct Target {
    table: Arc<Table>,
    /// How the table was created for this append; `None` once it is to stay.
    created: Option<Created>,
}

/// What becomes of a table that has the name of a new one.
#[derive(Debug, Clone)]
pub(crate) enum Existing {
    /// It stays, and the new table is refused.
    Stays,
    /// The new one takes its place.
    IsReplaced {
        /// The one that was seen; `None` when there was none. One that came later is looked at first.
        seen: Option<TableId>,
        /// Whether the new one is made as that was, for want of other words: then one that is made otherwise stays.
        is_made_alike: bool,
    },
}

/// A table that was created for an append.
#[derive(Debug)]
enum Created {
    /// Nobody else can find it before the append is committed: without that it never was there.
    Unnamed(Arc<Catalog>, Existing),
    /// Others can use it as soon as it is there. It is dropped unless somebody else has committed to it, whose rows are never
    /// taken away, or may do so: where other servers write it stays.
    Named(Arc<Catalog>),
}

impl Target {
    /// A table that was there before.
    pub(crate) fn existing(table: Arc<Table>) -> Self {
        Self { table, created: None }
    }

    /// Creates a table that is there from the commit of its append on. Until then a namesake is there as it was, whether it gives
    /// way or not.
    ///
    /// # Errors
    /// As [`Catalog::create_unnamed`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves no table.
    pub(crate) async fn create(
        catalog: &Arc<Catalog>,
        name: &str,
        spec: TableSpec,
        schema: Option<SchemaRef>,
        existing: Existing,
    ) -> Result<Self, Error> {
        let replaces = matches!(existing, Existing::IsReplaced { .. });
        let made = catalog.create_unnamed(name, spec, schema, replaces, auth::ANONYMOUS);
        let created = Some(Created::Unnamed(Arc::clone(catalog), existing));
        Ok(Self { table: made.await?, created })
    }

    /// Creates a table for one append of several that may create it, so that each finds what the first of them made.
    ///
    /// # Errors
    /// As [`Catalog::create_table`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the creation, but the table does not stay.
    pub(crate) async fn create_for_all(
        catalog: &Arc<Catalog>,
        name: &str,
        spec: TableSpec,
        schema: Option<SchemaRef>,
    ) -> Result<Self, Error> {
        let (catalog, name) = (Arc::clone(catalog), name.to_owned());
        // In a task of its own, so that there is always somebody to undo what was created.
        let creation = tokio::spawn(async move {
            let table = catalog.create_table(&name, spec, schema, auth::ANONYMOUS).await?;
            Ok(Self { table, created: Some(Created::Named(catalog)) })
        });
        creation.await.map_err(|ended| Error::internal(format!("creating a table: {ended}")))?
    }

    /// The table.
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Whether the table is made for the append and nobody else can find it yet.
    pub(crate) fn is_unnamed(&self) -> bool {
        matches!(self.created, Some(Created::Unnamed(..)))
    }

    /// Commits an append to the table, which then stays.
    ///
    /// # Errors
    /// As [`Append::commit`], and of [`Catalog::name_table`] for a new table.
    pub(crate) async fn commit(&mut self, append: Append) -> Result<Receipt, Error> {
        let mut outcome = append.commit().await;
        if let (Ok(receipt), Some(Created::Unnamed(catalog, existing))) = (&outcome, &self.created)
        {
            let (catalog, existing) = (Arc::clone(catalog), existing.clone());
            outcome = self.name(&catalog, existing, receipt.clone()).await;
        }
        if let (Ok(Receipt { repeated: false, .. }), Some(_)) = (&outcome, &self.created) {
            info!(table = self.table.name(), "created with its first append");
        }
        let stays = match &outcome {
            Ok(_) => true,
            // What nobody knows is left as it is for the one who looks.
            Err(error) => matches!(error.kind(), ErrorKind::Indeterminate | ErrorKind::Internal),
        };
        if stays {
            self.created = None;
        }
        outcome
    }

    /// Names the table. Another that has the name may be the work of this append's first try, which then answers for it.
    async fn name(
        &mut self,
        catalog: &Arc<Catalog>,
        existing: Existing,
        receipt: Receipt,
    ) -> Result<Receipt, Error> {
        let mut namesake = match existing {
            Existing::IsReplaced { seen: Some(seen), .. } => Namesake::GivesWay(seen),
            Existing::IsReplaced { seen: None, .. } | Existing::Stays => Namesake::Stays,
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let named = catalog.name_table(&self.table, namesake, auth::ANONYMOUS).await;
            let Err(error) = named else { return Ok(receipt) };
            let is_taken = matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Conflict);
            if !is_taken || tries == limits::NAMING_TRIES_MAX {
                return Err(error);
            }
            let other = match catalog.fresh_table(&self.table.name(), Duration::ZERO).await {
                Ok(other) => other,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    namesake = Namesake::Stays;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(answer) = first_try(&other, &self.table.snapshot()) {
                self.table = other;
                return answer;
            }
            let is_alike = || *other.snapshot().spec == *self.table.snapshot().spec;
            match existing {
                Existing::IsReplaced { is_made_alike, .. } if !is_made_alike || is_alike() => {
                    namesake = Namesake::GivesWay(other.id());
                }
                Existing::IsReplaced { .. } | Existing::Stays => return Err(error),
            }
        }
    }

    /// Undoes the creation; does nothing once the table is to stay. For those who answer an error: the client's retry may
    /// come right after it. Says whether the table is there all the same.
    pub(crate) async fn undo(&mut self) -> bool {
        match self.created.take() {
            None | Some(Created::Unnamed(..)) => false,
            Some(Created::Named(catalog)) => !drop_unused(catalog, Arc::clone(&self.table)).await,
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let Some(Created::Named(catalog)) = self.created.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(drop_unused(catalog, Arc::clone(&self.table)));
    }
}

/// Drops a table unless it is of use to somebody else, and says whether it is gone.
async fn drop_unused(catalog: Arc<Catalog>, table: Arc<Table>) -> bool {
    match catalog.drop_unchanged(&table, CREATION, auth::ANONYMOUS).await {
        Ok(dropped) => dropped,
        // Somebody dropped it by hand.
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => {
            let table = table.name();
            warn!(table, %error, "a table whose first append failed could not be dropped");
            false
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use table_core::CatalogOptions;
    use table_core::append::AppendRequest;
    use table_core::clock::SystemClock;
    use table_core::storage::faults::{FlakyStore, PutFault, SimDisk};

    use super::*;
    use crate::telemetry::Captured;

    const CREATED: &str = "created with its first append";

    /// What is logged is what is there: not before the commit, and not where there was none.
    #[tokio::test]
    async fn a_table_is_logged_once_it_is_there_for_good() {
        use PutFault::{None, NotStored};
        let store = FlakyStore::over(Arc::new(SimDisk::new().store(SystemClock::shared())));
        let options = CatalogOptions { disk_floor_bytes: Some(0), ..CatalogOptions::default() };
        let catalog = Catalog::over(store.clone(), options).await.unwrap();
        let column = Arc::new(Int64Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("n", column as _)]).unwrap();
        let log = Captured::start();
        // Of the two puts that end such an append, the rows' and the name's, one fails; then none.
        for (name, is_for_all, puts) in [
            ("rows", false, vec![NotStored]),
            ("name", false, vec![None, NotStored]),
            ("all", true, vec![NotStored]),
            ("good", false, vec![]),
            ("good_for_all", true, vec![]),
        ] {
            let (spec, schema) = (TableSpec::plain(), Some(batch.schema()));
            let target = match is_for_all {
                true => Target::create_for_all(&catalog, name, spec, schema).await,
                false => Target::create(&catalog, name, spec, schema, Existing::Stays).await,
            };
            let mut target = target.unwrap();
            let mut append = target.table().append(AppendRequest::default());
            append.write(batch.clone()).await.unwrap();
            assert!(!log.take().contains(CREATED), "{name} is not there yet");
            let fails = !puts.is_empty();
            store.next_puts(puts);
            assert_eq!(target.commit(append).await.is_err(), fails, "{name}");
            target.undo().await;
            let text = log.take();
            assert_eq!(text.contains(CREATED), !fails, "{name}: {text}");
            assert_eq!(catalog.contains(name), !fails, "{name}");
        }
    }
}
