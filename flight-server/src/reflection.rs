//! gRPC reflection: what services there are and what their messages look like, for tools such as grpcurl. Both versions of the
//! protocol, since tools differ. It reads no table.

use coverline_proto::WIRE_DESCRIPTORS;
use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};

/// Largest question of a client, bytes; real ones are a name.
const QUESTION_BYTES_MAX: usize = 4 << 10;

/// The services to serve beside the others.
///
/// # Errors
/// When a descriptor that was compiled in cannot be read.
pub(crate) fn services() -> Result<Routes, Error> {
    let builder = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(WIRE_DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let newest = builder().build_v1()?.max_decoding_message_size(QUESTION_BYTES_MAX);
    let alpha = builder().build_v1alpha()?.max_decoding_message_size(QUESTION_BYTES_MAX);
    Ok(Routes::new(newest).add_service(alpha))
}
