//! A client that cancels a call in the middle of its request is told apart from one that has finished it.
//!
//! tonic hands a stream that the peer reset with CANCEL to the service as one that ended well. For a DoPut that would turn
//! half an append into a whole one, so the cancellation becomes an error before tonic's decoder sees it.

use http::Request;
use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::{Code, Status};

/// The same request, whose body fails where the client cancelled it.
pub(crate) fn into_error(request: Request<Body>) -> Request<Body> {
    request.map(|body| Body::new(body.map_err(visible)))
}

fn visible(status: Status) -> Status {
    match status.code() {
        // Any code but CANCELLED gets through the decoder; nobody is left to read this one.
        Code::Cancelled => Status::aborted("the client cancelled the call; nothing was committed"),
        _ => status,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use bytes::Bytes;
    use futures::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    async fn body_that_fails_with(status: Status) -> Code {
        let frames = [Ok(Frame::data(Bytes::from_static(b"half"))), Err(status)];
        let request = Request::new(Body::new(StreamBody::new(stream::iter(frames))));
        into_error(request).into_body().collect().await.err().map(|status| status.code()).unwrap()
    }

    #[tokio::test]
    async fn a_cancelled_body_fails_with_a_code_that_the_decoder_does_not_swallow() {
        assert_eq!(body_that_fails_with(Status::cancelled("")).await, Code::Aborted);
        assert_eq!(body_that_fails_with(Status::internal("")).await, Code::Internal);
    }
}
