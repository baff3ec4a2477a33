//! [`CatalogState`]: the names and ids of a root's tables at one version of the catalog's log. Pure.

use bytes::Bytes;
use coverline_proto::log as proto;
use imbl::{HashMap, OrdMap};

use crate::log::checkpoint::{check_digest, record_digest};
use crate::log::record::{Action, Record};
use crate::log::replay::{ReplayError, State};
use crate::log::{Digest, frame};
use crate::types::{TableId, Version};

/// The one SQL schema that tables live in.
pub(super) const SCHEMA_NAME: &str = "public";

/// Tables by name as of one version of the catalog.
#[derive(Debug, Clone)]
pub(crate) struct CatalogState {
    version: Version,
    commit_time_us: i64,
    record_digest: Digest,
    pub(crate) tables: OrdMap<String, TableId>,
    /// The other way round.
    names: HashMap<TableId, String>,
}

impl CatalogState {
    /// Whether a table of that id has a name.
    pub(super) fn has_table(&self, id: TableId) -> bool {
        self.names.contains_key(&id)
    }

    fn act(&mut self, action: &Action) -> Result<(), ReplayError> {
        match action {
            Action::PutTable(put) => self.put(put),
            Action::DropTable(drop) => {
                let id = table_id(&drop.table_id)?;
                let name = self.names.remove(&id).ok_or_else(|| {
                    ReplayError::contradiction(format!("it drops table {id}, which is not there"))
                })?;
                self.tables.remove(&name);
                Ok(())
            }
            _ => Err(ReplayError::contradiction("it belongs into a table's log")),
        }
    }

    fn put(&mut self, put: &proto::PutTable) -> Result<(), ReplayError> {
        if put.schema_name != SCHEMA_NAME {
            return Err(ReplayError::future(format!("schema \"{}\"", put.schema_name)));
        }
        let id = table_id(&put.table_id)?;
        if self.names.insert(id, put.name.clone()).is_some() {
            return Err(ReplayError::future("renamed tables"));
        }
        if self.tables.insert(put.name.clone(), id).is_some() {
            return Err(ReplayError::contradiction(format!(
                "it creates table \"{}\", which exists",
                put.name
            )));
        }
        Ok(())
    }
}

fn table_id(bytes: &[u8]) -> Result<TableId, ReplayError> {
    TableId::from_slice(bytes)
        .ok_or_else(|| ReplayError::contradiction("a table id in it has not 16 bytes"))
}

impl State for CatalogState {
    fn version(&self) -> Version {
        self.version
    }

    fn commit_time_us(&self) -> i64 {
        self.commit_time_us
    }

    fn record_digest(&self) -> &Digest {
        &self.record_digest
    }

    fn first(record: &Record, digest: Digest) -> Result<Self, ReplayError> {
        if record.version != Version(1) {
            return Err(ReplayError::contradiction(format!(
                "it says that it is version {}, but it is the first record",
                record.version
            )));
        }
        let mut state = Self {
            version: Version(0),
            commit_time_us: i64::MIN,
            record_digest: frame::NO_RECORD,
            tables: OrdMap::new(),
            names: HashMap::new(),
        };
        state.fold(record)?;
        state.seal(digest);
        Ok(state)
    }

    fn fold(&mut self, part: &Record) -> Result<(), ReplayError> {
        for action in &part.actions {
            self.act(action)?;
        }
        self.version = part.version;
        self.commit_time_us = part.commit_time_us;
        Ok(())
    }

    fn seal(&mut self, digest: Digest) {
        self.record_digest = digest;
    }

    fn save(&self) -> proto::Checkpoint {
        let tables = self.tables.iter().map(|(name, id)| proto::PutTable {
            table_id: Bytes::copy_from_slice(id.as_bytes()),
            schema_name: SCHEMA_NAME.to_owned(),
            name: name.clone(),
        });
        proto::Checkpoint {
            version: self.version.0,
            commit_time_us: self.commit_time_us,
            record_digest: Bytes::copy_from_slice(&self.record_digest),
            state_digest: self.fold_digest(),
            catalog_tables: tables.collect(),
            ..proto::Checkpoint::default()
        }
    }

    fn restore(checkpoint: proto::Checkpoint) -> Result<Self, ReplayError> {
        if checkpoint.table.is_some() {
            return Err(ReplayError::contradiction("it is not the checkpoint of a catalog"));
        }
        let mut state = Self {
            version: Version(checkpoint.version),
            commit_time_us: checkpoint.commit_time_us,
            record_digest: record_digest(&checkpoint)?,
            tables: OrdMap::new(),
            names: HashMap::new(),
        };
        for put in &checkpoint.catalog_tables {
            state.put(put)?;
        }
        check_digest(&state, checkpoint.state_digest)?;
        Ok(state)
    }

    fn fold_digest(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        for (name, id) in &self.tables {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(id.as_bytes());
        }
        let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}
