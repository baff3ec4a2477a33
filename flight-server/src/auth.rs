//! Handshake and the caller's identity. Authentication is off; any credentials are accepted and a bearer is returned.
//!
//! Clients differ: some send no handshake message, some one; all want exactly one response, and the token as
//! `authorization: Bearer …` in the initial metadata. It must never be echoed later: clients would take it for a new token.

use arrow_flight::HandshakeResponse;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tonic::metadata::MetadataValue;
use tonic::{Response, Status};
use uuid::Uuid;

use crate::status;

/// The caller's name in commit records while authentication is off.
pub(crate) const ANONYMOUS: &str = "";

/// Answers a handshake.
///
/// # Errors
/// INTERNAL when the token is no header value, which a hexadecimal one always is.
pub(crate) fn handshake()
-> Result<Response<BoxStream<'static, Result<HandshakeResponse, Status>>>, Status> {
    let token = Uuid::new_v4().as_simple().to_string();
    let value = MetadataValue::try_from(format!("Bearer {token}"))
        .map_err(|_| status::internal("a bearer token is no header value"))?;
    let answer = HandshakeResponse { protocol_version: 0, payload: token.into_bytes().into() };
    let mut response = Response::new(stream::iter([Ok(answer)]).boxed());
    response.metadata_mut().insert("authorization", value);
    Ok(response)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_handshake_has_one_answer_and_a_bearer_of_its_own() {
        let first = handshake().unwrap();
        let second = handshake().unwrap();
        let bearer = |response: &Response<_>| {
            response.metadata().get("authorization").unwrap().to_str().unwrap().to_owned()
        };
        assert!(bearer(&first).starts_with("Bearer "));
        assert_ne!(bearer(&first), bearer(&second));
        assert_eq!(first.into_inner().count().await, 1);
    }
}
