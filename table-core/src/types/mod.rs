//! Small value types that keep one number from passing for another. No I/O, no Arrow batches.

mod bucket;
mod calendar;
mod entity;
mod id;
mod unit;
mod width;

#[cfg(test)]
pub(crate) use calendar::tests as calendar_oracle;

pub use bucket::{BucketId, Bucketing, IndexType};
pub use entity::{EntityKey, EntityType, EntityValue, encode_entities};
pub use id::{AttemptId, SegmentId, TableId, Version};
pub(crate) use unit::{nanos_per_tick, ticks_per_second};
pub use width::{BucketParseError, BucketWidth, CalendarUnit};
