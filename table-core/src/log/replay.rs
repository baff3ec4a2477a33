//! Folding records into a [`Snapshot`]. Pure: the same records give the same snapshot on every machine.
//!
//! Replay is strict: whatever no commit of Coverline can have written is an error and never skipped, because a record that is
//! skipped makes every later version wrong. A commit is applied here before it is published, so that nothing that could
//! not be replayed gets into the log.

use std::sync::Arc;

use coverline_proto::log as proto;
use imbl::{HashMap, Vector};

use super::group::GROUP_COMMITS_MAX;
use super::record::{Action, Record};
use super::{Digest, LogError, decode_schema, decode_spec};
use crate::coverage::{Coverage, CoverageDelta};
use crate::hot::{HotRows, HotSet};
use crate::schema::{TableLayout, TableSpec};
use crate::segment::SegmentMeta;
use crate::snapshot::Snapshot;
use crate::types::{SegmentId, TableId, Version};

/// How long append ids are remembered (C4).
#[derive(Debug, Clone, Copy)]
pub struct AppendIdHorizon {
    /// For at least this long, in microseconds ...
    pub time_us: i64,
    /// ... and for at least this many commits, whatever the clock does ...
    pub commits: u64,
    /// ... as long as a table has no more ids than this, some hundred bytes each. Beyond it the oldest go first.
    pub count_max: usize,
}

/// The horizon of every table: 7 days and 100,000 commits, as long as these bring no more than a million ids.
pub const APPEND_ID_HORIZON: AppendIdHorizon = AppendIdHorizon {
    time_us: 7 * 24 * 60 * 60 * 1_000_000,
    commits: 100_000,
    count_max: 1_000_000,
};

/// Append ids that are forgotten at one commit: more than a commit can bring, so that their number is bounded, and few enough to
/// cost it no time, however many grow old at once.
const APPEND_IDS_FORGOTTEN_MAX: usize = 1_024;

const _: () = assert!(APPEND_IDS_FORGOTTEN_MAX > GROUP_COMMITS_MAX);

/// Why a record does not follow from what came before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It contradicts itself or the records before it.
    #[error("{what}")]
    Contradiction {
        /// Expected and found.
        what: String,
    },
    /// It uses a feature that this code does not know.
    #[error("{what}")]
    Future {
        /// Which feature.
        what: String,
    },
}

impl ReplayError {
    pub(crate) fn contradiction(what: impl Into<String>) -> Self {
        Self::Contradiction { what: what.into() }
    }

    pub(crate) fn future(what: impl Into<String>) -> Self {
        Self::Future { what: what.into() }
    }

    /// The same as an error of the file that holds the record.
    pub(crate) fn in_file(self, file: &str) -> LogError {
        let file = file.to_owned();
        match self {
            Self::Contradiction { what } => LogError::Damaged { file, what },
            Self::Future { what } => LogError::Future { file, what },
        }
    }
}

/// A value that a log folds into, one version after the other.
pub(crate) trait State: std::fmt::Debug + Clone + Send + Sync + 'static {
    /// The version.
    fn version(&self) -> Version;

    /// When it was committed, microseconds since the epoch.
    fn commit_time_us(&self) -> i64;

    /// Digest of the framed record at that version.
    fn record_digest(&self) -> &Digest;

    /// The state that record 1 makes.
    fn first(record: &Record, digest: Digest) -> Result<Self, ReplayError>;

    /// Folds in what a record holds. A record may be folded in parts, one after the other: that gives the same state as the
    /// whole. The digest is left as it is, since only the whole record has one. Costs in proportion to the part.
    fn fold(&mut self, part: &Record) -> Result<(), ReplayError>;

    /// Gives the state the digest of the record that is folded in whole by now, and does what is done once for each record.
    fn seal(&mut self, digest: Digest);

    /// The state after the next record.
    fn apply(&self, record: &Record, digest: Digest) -> Result<Self, ReplayError> {
        self.clone().advance(record, digest)
    }

    /// The same from a state that nobody needs any longer: parts that no clone shares are changed where they are, not copied.
    fn advance(mut self, record: &Record, digest: Digest) -> Result<Self, ReplayError> {
        check_continuity(&self, record)?;
        self.fold(record)?;
        self.seal(digest);
        Ok(self)
    }

    /// What a checkpoint keeps.
    fn save(&self) -> proto::Checkpoint;

    /// The state that a checkpoint keeps.
    fn restore(checkpoint: proto::Checkpoint) -> Result<Self, ReplayError>;

    /// A number that two equal states share (C17).
    fn fold_digest(&self) -> u64;
}

/// Checks what holds between every record and the one before it.
fn check_continuity<S: State>(before: &S, record: &Record) -> Result<(), ReplayError> {
    let expected = before.version().0.checked_add(1);
    if expected != Some(record.version.0) {
        return Err(ReplayError::contradiction(format!(
            "it says that it is version {}, but it follows version {}",
            record.version,
            before.version()
        )));
    }
    if record.commit_time_us <= before.commit_time_us() {
        return Err(ReplayError::contradiction(format!(
            "its commit time {} is not after {}, that of the version before",
            record.commit_time_us,
            before.commit_time_us()
        )));
    }
    Ok(())
}

impl State for Snapshot {
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
        let Some((Action::CreateTable(create), rest)) = record.actions.split_first() else {
            return Err(ReplayError::contradiction("the first record does not create a table"));
        };
        let mut snapshot = created(create)?;
        snapshot.fold_actions(record, rest)?;
        snapshot.seal(digest);
        Ok(snapshot)
    }

    fn fold(&mut self, part: &Record) -> Result<(), ReplayError> {
        self.fold_actions(part, &part.actions)
    }

    fn seal(&mut self, digest: Digest) {
        self.record_digest = digest;
        self.forget_appends(&APPEND_ID_HORIZON);
    }

    fn save(&self) -> proto::Checkpoint {
        super::checkpoint::save(self)
    }

    fn restore(checkpoint: proto::Checkpoint) -> Result<Self, ReplayError> {
        super::checkpoint::restore(checkpoint)
    }

    fn fold_digest(&self) -> u64 {
        super::checkpoint::state_digest(self)
    }
}

/// The empty table that `create` makes, before version 1.
pub(super) fn created(create: &proto::CreateTable) -> Result<Snapshot, ReplayError> {
    let table_id = TableId::from_slice(&create.table_id)
        .ok_or_else(|| ReplayError::contradiction("the table id has not 16 bytes"))?;
    let spec = create
        .spec
        .as_ref()
        .ok_or_else(|| ReplayError::contradiction("the table has no specification"))?;
    let spec = Arc::new(decode_spec(spec).map_err(ReplayError::contradiction)?);
    let layout =
        if create.ipc_schema.is_empty() { None } else { Some(bound(&spec, &create.ipc_schema)?) };
    Ok(Snapshot::empty(table_id, spec, layout))
}

/// The layout that a stored schema gives.
pub(super) fn bound(spec: &TableSpec, ipc_schema: &[u8]) -> Result<Arc<TableLayout>, ReplayError> {
    let schema = decode_schema(ipc_schema).map_err(ReplayError::contradiction)?;
    let layout = spec.bind(&schema).map_err(|error| {
        ReplayError::contradiction(format!("schema and specification do not fit: {error}"))
    })?;
    Ok(Arc::new(layout))
}

impl Snapshot {
    /// An empty table before its first version.
    pub(crate) fn empty(
        table_id: TableId,
        spec: Arc<TableSpec>,
        layout: Option<Arc<TableLayout>>,
    ) -> Self {
        Self {
            table_id,
            version: Version(0),
            commit_time_us: i64::MIN,
            spec,
            layout,
            segments: Vector::new(),
            segment_versions: HashMap::new(),
            hot: HotSet::default(),
            coverage: Coverage::default(),
            row_count: 0,
            file_bytes: 0,
            append_ids: HashMap::new(),
            append_order: Vector::new(),
            properties: HashMap::new(),
            record_digest: super::frame::NO_RECORD,
        }
    }

    fn fold_actions(&mut self, record: &Record, actions: &[Action]) -> Result<(), ReplayError> {
        for action in actions {
            self.act(record.version, action)?;
        }
        self.check_ownership(record.version)?;
        self.check_rows()?;
        self.version = record.version;
        self.commit_time_us = record.commit_time_us;
        for id in &record.append_ids {
            if id.version != record.version.0 {
                return Err(ReplayError::contradiction(format!(
                    "append id \"{}\" in it names version {}",
                    id.key, id.version
                )));
            }
            let id = proto::AppendId { commit_time_us: record.commit_time_us, ..id.clone() };
            self.remember_append(Arc::new(id));
        }
        Ok(())
    }

    fn act(&mut self, version: Version, action: &Action) -> Result<(), ReplayError> {
        match action {
            Action::AddSegment(add) => {
                if add.shard != 0 {
                    return Err(ReplayError::future("shards"));
                }
                self.add_segment(add, version)
            }
            Action::RemoveSegment(remove) => self.remove_segment(&remove.segment_id),
            Action::CoverageDelta(delta) if delta.version == 0 => self.add_coverage(delta),
            Action::CoverageDelta(delta) => self.check_moved(version, delta),
            Action::SetSchema(set) => self.set_schema(set),
            Action::SetProperties(set) => {
                for (key, value) in &set.properties {
                    // An empty value takes the property away.
                    if value.is_empty() {
                        self.properties.remove(key);
                    } else {
                        self.properties.insert(key.clone(), value.clone());
                    }
                }
                Ok(())
            }
            Action::InlineRows(rows) => self.add_inline_rows(rows, version),
            Action::MaskSegment(_) => Err(ReplayError::future("ownership masks")),
            Action::CreateTable(_) => {
                Err(ReplayError::contradiction("it creates a table that exists"))
            }
            Action::PutTable(_) | Action::DropTable(_) => {
                Err(ReplayError::contradiction("it belongs into the catalog's log"))
            }
        }
    }

    pub(super) fn add_segment(
        &mut self,
        add: &proto::AddSegment,
        version: Version,
    ) -> Result<(), ReplayError> {
        let layout = self
            .layout
            .as_ref()
            .ok_or_else(|| ReplayError::contradiction("it adds a segment before a schema"))?;
        let meta =
            SegmentMeta::from_proto(add, &layout.schema).map_err(ReplayError::contradiction)?;
        if self.segment_versions.insert(meta.id, version).is_some() {
            return Err(ReplayError::contradiction(format!("it adds segment {} again", meta.id)));
        }
        let overflow = || ReplayError::contradiction("rows or bytes in all exceed 64 bits");
        self.row_count = self.row_count.checked_add(meta.row_count).ok_or_else(overflow)?;
        self.file_bytes = self.file_bytes.checked_add(meta.file_bytes).ok_or_else(overflow)?;
        self.segments.push_back(Arc::new(meta));
        Ok(())
    }

    /// Adds the rows of a small append, as a record or a checkpoint holds them.
    pub(super) fn add_inline_rows(
        &mut self,
        stored: &proto::InlineRows,
        version: Version,
    ) -> Result<(), ReplayError> {
        let layout = self
            .layout
            .as_ref()
            .ok_or_else(|| ReplayError::contradiction("it adds rows before a schema"))?;
        let rows =
            HotRows::from_proto(stored, version, layout).map_err(ReplayError::contradiction)?;
        if self.segment_versions.insert(rows.id, version).is_some() {
            return Err(ReplayError::contradiction(format!("it adds rows {} again", rows.id)));
        }
        self.row_count = self
            .row_count
            .checked_add(rows.row_count())
            .ok_or_else(|| ReplayError::contradiction("rows in all exceed 64 bits"))?;
        self.hot.push(rows);
        Ok(())
    }

    /// A table's schema never changes once it has one, and inline rows are read by it.
    fn set_schema(&mut self, set: &proto::SetSchema) -> Result<(), ReplayError> {
        let layout = bound(&self.spec, &set.ipc_schema)?;
        if let Some(before) = &self.layout
            && before.schema != layout.schema
            && !self.hot.is_empty()
        {
            return Err(ReplayError::future("a change of the schema below inline rows"));
        }
        self.layout = Some(layout);
        Ok(())
    }

    fn remove_segment(&mut self, id: &[u8]) -> Result<(), ReplayError> {
        let unknown = || ReplayError::contradiction("it removes a segment that is not there");
        let id = SegmentId::from_slice(id).ok_or_else(unknown)?;
        let version = *self.segment_versions.get(&id).ok_or_else(unknown)?;
        if let Some(removed) = self.hot.remove(id, version) {
            self.segment_versions.remove(&id);
            self.row_count -= removed.row_count();
            return Ok(());
        }
        // Segments are in commit order, so the versions that added them find the place without looking at each.
        let versions = &self.segment_versions;
        let searched = self.segments.binary_search_by(|segment| {
            let added = versions.get(&segment.id).copied().unwrap_or_default();
            // Never equal: the search ends before the first segment of that version.
            if added < version { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater }
        });
        let (Ok(mut position) | Err(mut position)) = searched;
        while self.segments.get(position).ok_or_else(unknown)?.id != id {
            position += 1;
        }
        let removed = self.segments.remove(position);
        self.segment_versions.remove(&id);
        self.row_count -= removed.row_count;
        self.file_bytes -= removed.file_bytes;
        Ok(())
    }

    fn add_coverage(&mut self, delta: &proto::CoverageDelta) -> Result<(), ReplayError> {
        if self.spec.index.is_none() {
            return Err(ReplayError::contradiction("it covers buckets of a plain table"));
        }
        // This is a clone, which nobody sees after an error.
        let owned = self
            .coverage
            .add_encoded(&delta.encoded, &delta.entity_rows)
            .map_err(|error| ReplayError::contradiction(error.to_string()))?;
        if owned > 0 {
            return Err(ReplayError::contradiction(format!(
                "it covers {owned} pairs that an earlier version owns"
            )));
        }
        self.hot.own(&delta.segment_id, &delta.encoded);
        Ok(())
    }

    /// Checks pairs whose rows moved and whose owner stays: they must be covered, and by an earlier version.
    fn check_moved(
        &self,
        version: Version,
        delta: &proto::CoverageDelta,
    ) -> Result<(), ReplayError> {
        let pairs = CoverageDelta::decode(&delta.encoded)
            .map_err(|error| ReplayError::contradiction(error.to_string()))?;
        if !delta.entity_rows.is_empty() {
            return Err(ReplayError::contradiction("it counts rows again that it moves"));
        }
        if delta.version >= version.0 {
            return Err(ReplayError::contradiction(format!(
                "it says that version {} owns rows that it moves",
                delta.version
            )));
        }
        let (covered, moved) = (self.coverage.overlap(&pairs).pair_count(), pairs.pair_count());
        if covered != moved {
            return Err(ReplayError::contradiction(format!(
                "it moves rows of {moved} pairs, of which {covered} are covered"
            )));
        }
        Ok(())
    }

    /// Inline rows, here those since `version`, come with the pairs that they cover, and on plain tables with none.
    pub(super) fn check_ownership(&self, version: Version) -> Result<(), ReplayError> {
        let mut newest = self.hot.iter().rev().take_while(|rows| rows.version >= version);
        match newest.find(|rows| rows.owned.is_empty() == self.spec.index.is_some()) {
            None => Ok(()),
            Some(rows) => Err(ReplayError::contradiction(format!(
                "what it says of the pairs of rows {} does not fit the table",
                rows.id
            ))),
        }
    }

    /// The rows of all entities, where they are known, are those of the table.
    pub(super) fn check_rows(&self) -> Result<(), ReplayError> {
        match self.coverage.row_count().filter(|_| !self.coverage.is_empty()) {
            Some(counted) if counted != self.row_count => Err(ReplayError::contradiction(format!(
                "the rows of its entities are {counted}, but the table has {}",
                self.row_count
            ))),
            _ => Ok(()),
        }
    }

    pub(super) fn remember_append(&mut self, id: Arc<proto::AppendId>) {
        self.append_ids.insert((id.principal.clone(), id.key.clone()), Arc::clone(&id));
        self.append_order.push_back(id);
    }

    /// Forgets the oldest append ids: those beyond both horizons, and those that are too many. Once for each record, never for
    /// a part of one, so that replay forgets what the commit loop forgot.
    pub(super) fn forget_appends(&mut self, horizon: &AppendIdHorizon) {
        let oldest_time = self.commit_time_us.saturating_sub(horizon.time_us);
        let newest_gone = self.version.0.checked_sub(horizon.commits);
        for _ in 0..APPEND_IDS_FORGOTTEN_MAX {
            let is_beyond = self.append_order.front().is_some_and(|oldest| {
                oldest.commit_time_us < oldest_time
                    && newest_gone.is_some_and(|newest_gone| oldest.version <= newest_gone)
            });
            if !is_beyond && self.append_order.len() <= horizon.count_max {
                return;
            }
            let Some(id) = self.append_order.pop_front() else { return };
            let key = (id.principal.clone(), id.key.clone());
            // A key that was used again after it had been forgotten belongs to its later use.
            if self.append_ids.get(&key).is_some_and(|known| known.version == id.version) {
                self.append_ids.remove(&key);
            }
        }
    }
}
