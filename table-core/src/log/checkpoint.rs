//! Saving the fold of a log and reading it back. Pure.
//!
//! A checkpoint is a shortcut and never the truth: losing one costs time, not data.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use coverline_proto::log as proto;
use prost::Message;

use super::frame::{self, FrameKind};
use super::replay::{ReplayError, State, bound, created};
use super::schema::{encode_schema, encode_spec};
use super::{Digest, LogError};
use crate::coverage::Coverage;
use crate::snapshot::Snapshot;
use crate::types::Version;

/// Commits between two checkpoints.
pub const CHECKPOINT_EVERY: u64 = 500;

/// A state as a framed checkpoint.
pub(crate) fn encode<S: State>(state: &S) -> Bytes {
    frame::encode(FrameKind::Checkpoint, state.record_digest(), &state.save().encode_to_vec())
}

/// Reads a framed checkpoint back. `file` names it in errors.
pub(crate) fn decode<S: State>(
    framed: &Bytes,
    version: Version,
    file: &str,
) -> Result<S, LogError> {
    let frame = frame::decode(FrameKind::Checkpoint, framed, file)?;
    let damaged = |what: String| LogError::Damaged { file: file.to_owned(), what };
    let checkpoint = proto::Checkpoint::decode(frame.payload)
        .map_err(|error| damaged(format!("it is not a checkpoint: {error}")))?;
    if checkpoint.version != version.0 {
        return Err(damaged(format!("it is the checkpoint of version {}", checkpoint.version)));
    }
    let state = S::restore(checkpoint).map_err(|error| error.in_file(file))?;
    if *state.record_digest() != frame.previous {
        return Err(damaged("frame and payload name different records".to_owned()));
    }
    Ok(state)
}

/// The digest that a checkpoint names as that of the record at its version.
pub(crate) fn record_digest(checkpoint: &proto::Checkpoint) -> Result<Digest, ReplayError> {
    checkpoint
        .record_digest
        .as_ref()
        .try_into()
        .map_err(|_| ReplayError::contradiction("the record digest has not 32 bytes"))
}

/// What a checkpoint keeps of a table.
pub(super) fn save(snapshot: &Snapshot) -> proto::Checkpoint {
    let segments = snapshot.segments.iter().map(|segment| proto::AddSegment {
        version: snapshot.segment_version(segment.id).unwrap_or_default().0,
        ..segment.to_proto()
    });
    let properties = snapshot.properties.iter();
    let coverage = snapshot.coverage.fold();
    proto::Checkpoint {
        version: snapshot.version.0,
        commit_time_us: snapshot.commit_time_us,
        record_digest: Bytes::copy_from_slice(&snapshot.record_digest),
        table: Some(proto::CreateTable {
            table_id: Bytes::copy_from_slice(snapshot.table_id.as_bytes()),
            spec: Some(encode_spec(&snapshot.spec)),
            ipc_schema: Bytes::new(),
        }),
        ipc_schema: snapshot
            .layout
            .as_ref()
            .map(|layout| encode_schema(&layout.schema))
            .unwrap_or_default(),
        properties: properties.map(|(key, value)| (key.clone(), value.clone())).collect(),
        segments: segments.collect(),
        coverage: coverage.pairs.into(),
        coverage_digest: snapshot.coverage.digest(),
        append_ids: snapshot.append_order.iter().map(|id| proto::AppendId::clone(id)).collect(),
        catalog_tables: Vec::new(),
        inline_rows: snapshot.hot.iter().map(|rows| rows.to_proto()).collect(),
        state_digest: state_digest(snapshot),
        entity_rows: coverage.rows,
    }
}

/// A number that equal snapshots share, whichever way they came to be: all that a snapshot shows goes into it (C17).
pub(super) fn state_digest(snapshot: &Snapshot) -> u64 {
    let mut digest = blake3::Hasher::new();
    let mut add = |part: &[u8]| {
        digest.update(&(part.len() as u64).to_le_bytes()).update(part);
    };
    add(&snapshot.version.0.to_le_bytes());
    add(&snapshot.commit_time_us.to_le_bytes());
    add(&encode_spec(&snapshot.spec).encode_to_vec());
    if let Some(layout) = &snapshot.layout {
        add(&encode_schema(&layout.schema));
    }
    let properties: BTreeMap<_, _> = snapshot.properties.iter().collect();
    for (key, value) in properties {
        add(key.as_bytes());
        add(value.as_bytes());
    }
    for segment in &snapshot.segments {
        add(&segment.to_proto().encode_to_vec());
        add(&snapshot.segment_version(segment.id).unwrap_or_default().0.to_le_bytes());
    }
    for id in &snapshot.append_order {
        add(&id.encode_to_vec());
    }
    add(&snapshot.coverage.digest().to_le_bytes());
    add(&snapshot.hot.digest().to_le_bytes());
    // Left out when no rows are known, as they were of every table when the first digests were written.
    match snapshot.coverage.rows_digest() {
        0 => {}
        rows => add(&rows.to_le_bytes()),
    }
    digest.finalize().as_bytes().first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

/// Holds the digest of what was read against the one that was written, if there was one.
pub(crate) fn check_digest<S: State>(state: &S, written: u64) -> Result<(), ReplayError> {
    match state.fold_digest() {
        found if found == written || written == 0 => Ok(()),
        found => Err(ReplayError::contradiction(format!(
            "the digest of what it holds is {found:016x}, but {written:016x} was written into it"
        ))),
    }
}

/// The table that a checkpoint keeps.
pub(super) fn restore(checkpoint: proto::Checkpoint) -> Result<Snapshot, ReplayError> {
    let record_digest = record_digest(&checkpoint)?;
    let create = checkpoint
        .table
        .as_ref()
        .ok_or_else(|| ReplayError::contradiction("it is not the checkpoint of a table"))?;
    let mut snapshot = created(create)?;
    if !checkpoint.ipc_schema.is_empty() {
        snapshot.layout = Some(bound(&snapshot.spec, &checkpoint.ipc_schema)?);
    }
    let mut added = Version(1);
    for segment in &checkpoint.segments {
        let version = Version(segment.version);
        if version < added || version.0 > checkpoint.version {
            return Err(ReplayError::contradiction(format!(
                "it lists a segment of version {version} out of order"
            )));
        }
        added = version;
        snapshot.add_segment(segment, version)?;
    }
    let mut added = Version(1);
    for rows in &checkpoint.inline_rows {
        let version = Version(rows.version);
        if version < added || version.0 > checkpoint.version {
            return Err(ReplayError::contradiction(format!(
                "it lists inline rows of version {version} out of order"
            )));
        }
        added = version;
        snapshot.add_inline_rows(rows, version)?;
    }
    snapshot.check_ownership(Version(1))?;
    snapshot.coverage = Coverage::decode(&checkpoint.coverage, &checkpoint.entity_rows)
        .map_err(|error| ReplayError::contradiction(error.to_string()))?;
    let digest = snapshot.coverage.digest();
    if digest != checkpoint.coverage_digest {
        return Err(ReplayError::contradiction(format!(
            "the digest of its coverage is {digest:016x}, but {:016x} was written into it",
            checkpoint.coverage_digest
        )));
    }
    for id in checkpoint.append_ids {
        snapshot.remember_append(Arc::new(id));
    }
    snapshot.check_rows()?;
    snapshot.properties = checkpoint.properties.into_iter().collect();
    snapshot.version = Version(checkpoint.version);
    snapshot.commit_time_us = checkpoint.commit_time_us;
    snapshot.record_digest = record_digest;
    check_digest(&snapshot, checkpoint.state_digest)?;
    Ok(snapshot)
}
