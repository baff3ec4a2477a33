//! Substrait's messages: fields, numbers and types of version 0.85 of its `.proto` files, which say what they mean
//! (<https://substrait.io>, Apache-2.0, `LICENSE` beside this crate).
//!
//! Stands in the place of the published crate of the same name and version (`[patch]` in the workspace), whose build runs protoc,
//! a program that not every machine has, and generates much that nobody here uses. What `datafusion-substrait` names is here.

#![allow(missing_docs, reason = "generated code")]
#![allow(clippy::all, reason = "generated code")]

/// Plans, relations, expressions and types.
pub mod proto {
    /// Functions and types that a plan declares by name.
    pub mod extensions {
        include!(concat!(env!("OUT_DIR"), "/substrait.extensions.rs"));
    }

    include!(concat!(env!("OUT_DIR"), "/substrait.rs"));
}

/// The version of Substrait that the messages are of.
pub mod version {
    use crate::proto::Version;

    pub const SUBSTRAIT_MAJOR_VERSION: u32 = 0;
    pub const SUBSTRAIT_MINOR_VERSION: u32 = 85;
    pub const SUBSTRAIT_PATCH_VERSION: u32 = 0;

    /// What a plan of this version says of itself.
    pub fn version_with_producer(producer: impl Into<String>) -> Version {
        Version {
            major_number: SUBSTRAIT_MAJOR_VERSION,
            minor_number: SUBSTRAIT_MINOR_VERSION,
            patch_number: SUBSTRAIT_PATCH_VERSION,
            producer: producer.into(),
            ..Version::default()
        }
    }
}
