//! Hot rows: rows of small appends that live in the log itself and in memory, until a flush makes one segment of many.
//!
//! A one-row append so costs one durable object and not two. `codec` is the bytes of such rows in a record, `set` what a
//! snapshot keeps of them and how much at most, `view` the sorted whole that queries read: all pure. `flush` is the only I/O.

mod codec;
mod flush;
mod set;
mod view;

pub use codec::encode;
pub use set::{
    FLUSH_APPENDS, FLUSH_BYTES, FLUSH_ROWS, HOT_APPENDS_MAX, HOT_BYTES_MAX, HOT_ROWS_MAX, HotRows,
    HotSet, INLINE_BYTES_MAX,
};
pub use view::HotView;

pub(crate) use flush::Flusher;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod flush_tests;
#[cfg(test)]
mod remote_tests;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
