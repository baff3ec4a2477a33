//! The binary form of deltas and of a checkpoint's folded coverage.

/// Why coverage bytes are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end in the middle of a value.
    #[error("coverage bytes end early at offset {offset}")]
    Truncated {
        /// Where.
        offset: usize,
    },
    /// A value breaks a rule of the format.
    #[error("coverage bytes are not canonical at offset {offset}: {rule}")]
    NotCanonical {
        /// Where.
        offset: usize,
        /// Which rule.
        rule: &'static str,
    },
}
