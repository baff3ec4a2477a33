//! [`Frame`]: one message of a DoGet, and the codec that puts it on the wire.
//!
//! The generated code writes the buffers of a batch into one IPC body and then that body into a gRPC message. Here they are
//! written into the gRPC message right away: half the copies, and half the memory that is touched for the first time. The
//! bytes on the wire are those of `FlightData`. Which batches make which messages is `query::stream`'s business.

use std::convert::Infallible;
use std::task::{Context, Poll};

use arrow::buffer::Buffer;
use arrow_flight::flight_service_server::FlightServiceServer;
use arrow_flight::{FlightData, Ticket};
use bytes::{BufMut, Bytes};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tower::Service;

use crate::limits;
use crate::service::{Answer, CoverlineService};

/// Path of the one call that is answered here.
const DO_GET_PATH: &str = "/arrow.flight.protocol.FlightService/DoGet";

// Fields of `FlightData`.
const DATA_HEADER: u32 = 2;
const APP_METADATA: u32 = 3;
const DATA_BODY: u32 = 1000;

/// A `FlightData` whose body may be in several pieces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame {
    /// The IPC message.
    pub(crate) header: Bytes,
    /// Ours, beside the IPC message.
    pub(crate) app_metadata: Bytes,
    /// The IPC body.
    pub(crate) body: Vec<Buffer>,
}

impl Frame {
    fn body_bytes(&self) -> usize {
        self.body.iter().map(Buffer::len).sum()
    }

    fn encoded_len(&self) -> usize {
        let field = |number, length: usize| match length {
            0 => 0,
            length => key_len(number) + encoded_len_varint(length as u64) + length,
        };
        field(DATA_HEADER, self.header.len())
            + field(APP_METADATA, self.app_metadata.len())
            + field(DATA_BODY, self.body_bytes())
    }

    fn encode(&self, target: &mut impl BufMut) {
        let begin = |target: &mut _, number, length: usize| {
            encode_key(number, WireType::LengthDelimited, target);
            encode_varint(length as u64, target);
        };
        for (number, bytes) in [(DATA_HEADER, &self.header), (APP_METADATA, &self.app_metadata)] {
            if !bytes.is_empty() {
                begin(target, number, bytes.len());
                target.put_slice(bytes);
            }
        }
        let body_bytes = self.body_bytes();
        if body_bytes > 0 {
            begin(target, DATA_BODY, body_bytes);
            for buffer in &self.body {
                target.put_slice(buffer);
            }
        }
    }
}

impl From<FlightData> for Frame {
    fn from(message: FlightData) -> Self {
        let body = match message.data_body.is_empty() {
            true => Vec::new(),
            false => vec![Buffer::from(message.data_body)],
        };
        Self { header: message.data_header, app_metadata: message.app_metadata, body }
    }
}

impl From<Frame> for FlightData {
    fn from(frame: Frame) -> Self {
        let mut data_body = Vec::with_capacity(frame.body_bytes());
        for buffer in &frame.body {
            data_body.extend_from_slice(buffer);
        }
        Self {
            flight_descriptor: None,
            data_header: frame.header,
            app_metadata: frame.app_metadata,
            data_body: data_body.into(),
        }
    }
}

/// Frames out, tickets in.
#[derive(Debug, Clone, Copy, Default)]
struct FrameCodec;

impl Codec for FrameCodec {
    type Encode = Frame;
    type Decode = Ticket;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for FrameCodec {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.reserve(frame.encoded_len());
        frame.encode(target);
        Ok(())
    }
}

impl Decoder for FrameCodec {
    type Item = Ticket;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Ticket>, Status> {
        Ticket::decode(source).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// The Flight service as it is served: DoGet sends frames, the generated code answers everything else.
#[derive(Debug, Clone)]
pub(crate) struct FrameServer {
    service: CoverlineService,
    generated: FlightServiceServer<CoverlineService>,
}

impl FrameServer {
    pub(crate) fn new(service: CoverlineService) -> Self {
        let generated = FlightServiceServer::new(service.clone())
            .max_decoding_message_size(limits::REQUEST_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(usize::MAX);
        Self { service, generated }
    }
}

impl NamedService for FrameServer {
    const NAME: &'static str = <FlightServiceServer<CoverlineService> as NamedService>::NAME;
}

impl Service<Request<Body>> for FrameServer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != DO_GET_PATH {
            return self.generated.call(request);
        }
        let method = DoGet(self.service.clone());
        async move {
            let mut grpc = Grpc::new(FrameCodec).apply_max_message_size_config(
                Some(limits::REQUEST_MESSAGE_BYTES_MAX),
                Some(usize::MAX),
            );
            Ok(grpc.server_streaming(method, request).await)
        }
        .boxed()
    }
}

struct DoGet(CoverlineService);

impl ServerStreamingService<Ticket> for DoGet {
    type Response = Frame;
    type ResponseStream = Answer<Frame>;
    type Future = BoxFuture<'static, Result<tonic::Response<Answer<Frame>>, Status>>;

    fn call(&mut self, request: tonic::Request<Ticket>) -> Self::Future {
        let service = self.0.clone();
        async move { service.get_frames(request).await }.boxed()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_flight_data_on_the_wire() {
        let pieces = |pieces: &[&[u8]]| pieces.iter().map(|bytes| Buffer::from(*bytes)).collect();
        let long = vec![7_u8; 100_000];
        for (header, app_metadata, body) in [
            (&b"header"[..], &b""[..], pieces(&[b"abc", b"", &long])),
            (b"", b"note", pieces(&[])),
            (b"h", b"m", pieces(&[b"x"])),
            (b"", b"", pieces(&[])),
        ] {
            let frame = Frame {
                header: Bytes::copy_from_slice(header),
                app_metadata: Bytes::copy_from_slice(app_metadata),
                body,
            };
            let mut written = Vec::new();
            frame.encode(&mut written);
            assert_eq!(written.len(), frame.encoded_len());
            let message = FlightData::from(frame.clone());
            assert_eq!(written, message.encode_to_vec());
            assert_eq!(FlightData::decode(&*written).unwrap(), message);
            assert_eq!(FlightData::from(Frame::from(message.clone())), message);
        }
    }
}
