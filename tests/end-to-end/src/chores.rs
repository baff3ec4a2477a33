//! [`Chore`]: an append after which the server does more of its own accord: a flush of hot rows, or a checkpoint.
//!
//! The table that is due for it is made once, kept as a copy of the root, and put back for every run.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use crate::ledger::{Answer, Ledger, Outcome, Size};
use crate::operations::Operation;
use crate::site::copy_folder;
use crate::trace::Made;
use crate::{Client, Site, TestResult};

/// Appends of a quarter of a mebibyte, just below what a record may carry: the flush is due with the first that makes 8 MiB.
const FLUSH_SIZE: Size = Size { rows: 4, noise_bytes: 62 << 10 };
const APPENDS_BEFORE_FLUSH: usize = 32;
/// A checkpoint is due at version 500.
const VERSION_BEFORE_CHECKPOINT: u64 = 499;

/// What the server does after the append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Flush,
    Checkpoint,
}

/// An append that makes work for the server.
#[derive(Debug, Clone)]
pub struct Chore {
    kind: Kind,
    template: Option<Arc<Template>>,
    ledger: Ledger,
    hour: i64,
}

/// A root whose next append is the one.
#[derive(Debug)]
struct Template {
    folder: TempDir,
    ledger: Ledger,
}

impl Template {
    fn root(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Chore {
    /// An append that is followed by a flush.
    pub fn flush() -> Self {
        Self::new(Kind::Flush, FLUSH_SIZE)
    }

    /// An append that is followed by a checkpoint.
    pub fn checkpoint() -> Self {
        Self::new(Kind::Checkpoint, Size::SMALL)
    }

    fn new(kind: Kind, size: Size) -> Self {
        Self { kind, template: None, ledger: Ledger::new("t", size), hour: 0 }
    }

    async fn fill(&self, site: &mut Site) -> TestResult<Template> {
        let mut ledger = self.ledger.clone();
        let client = site.client().await?;
        ledger.create(&client).await?;
        match self.kind {
            Kind::Flush => {
                for _ in 0..APPENDS_BEFORE_FLUSH {
                    ledger.append(&client).await?;
                }
            }
            Kind::Checkpoint => {
                // Version 1 made the table. Batches that meet share a version, so it may take a few more than versions are
                // missing.
                while let missing @ 1.. =
                    VERSION_BEFORE_CHECKPOINT.saturating_sub(ledger.newest_version().max(1))
                {
                    ledger.append_many(&client, missing as usize).await?;
                }
            }
        }
        let folder = tempfile::tempdir()?;
        let template = Template { folder, ledger };
        site.server.end().await?;
        copy_folder(site.data_dir(), &template.root())?;
        Ok(template)
    }
}

impl Operation for Chore {
    type Answer = Answer;

    async fn prepare(&mut self, site: &mut Site) -> TestResult {
        let template = match &self.template {
            Some(template) => Arc::clone(template),
            None => Arc::new(self.fill(site).await?),
        };
        site.reset_to(&template.root()).await?;
        self.ledger = template.ledger.clone();
        // The first look at a table opens it, which is no part of the append.
        self.ledger.check(&site.client().await?).await?;
        self.hour = self.ledger.next_hour();
        self.template = Some(template);
        Ok(())
    }

    async fn run(&self, client: &Client) -> Answer {
        self.ledger.send(client, self.hour).await
    }

    /// When the record of the flush, or the checkpoint, has its name and no other.
    fn is_over(&self, made: &[Made]) -> bool {
        let mut made = made.iter().map(|made| made.call.to_string());
        let mut meets = |call: &str| made.any(|made| made == call);
        let has_name = match self.kind {
            Kind::Flush => {
                meets("linkat tables/ID/data/ID.parquet") && meets("linkat tables/ID/_log/N")
            }
            Kind::Checkpoint => meets("linkat tables/ID/_log/N.checkpoint"),
        };
        has_name && meets("unlink tables/ID/_log/.tmp")
    }

    fn has_chore(&self) -> bool {
        true
    }

    fn record(&mut self, answer: &Answer) -> TestResult<Outcome> {
        self.ledger.record(self.hour, answer)
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}
