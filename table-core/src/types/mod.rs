//! Small value types that keep one number from passing for another. No I/O, no Arrow batches.

mod bucket;
mod entity;
mod id;

pub use bucket::{BucketId, BucketParseError, BucketWidth, Bucketing, CalendarUnit, IndexType};
pub use entity::{EntityKey, EntityType, EntityValue, encode_entities};
pub use id::{AttemptId, SegmentId, TableId, Version};
