//! The body of a request in pieces that never hold the end of one gRPC message and the beginning of the next.
//!
//! tonic makes room for exactly one message once it has read the message's prefix. A client sends its messages back to back, so
//! the last piece of one usually holds the first bytes of the next: then that room is too small by a few bytes, it is doubled, and
//! the message is copied. Pieces cut at the right places keep a 12 MiB message in 12 MiB. Nothing is buffered here, and nothing
//! copied.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};

/// A flag and the length of the message.
const PREFIX_BYTES: usize = 5;

/// A body whose pieces are cut where messages begin, and behind their prefixes.
#[derive(Debug)]
pub(crate) struct MessagePieces<B> {
    body: B,
    /// What is left of the last piece.
    rest: Bytes,
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of the prefix that have passed.
    prefix_passed: usize,
    /// Bytes of the message that have not passed yet, once the prefix has.
    missing: usize,
}

impl<B> MessagePieces<B> {
    pub(crate) fn new(body: B) -> Self {
        let prefix = [0; PREFIX_BYTES];
        Self { body, rest: Bytes::new(), prefix, prefix_passed: 0, missing: 0 }
    }

    /// The next piece of `rest`, which is not empty.
    fn cut(&mut self) -> Bytes {
        if self.missing > 0 {
            let piece = self.rest.split_to(self.missing.min(self.rest.len()));
            self.missing -= piece.len();
            return piece;
        }
        let piece = self.rest.split_to((PREFIX_BYTES - self.prefix_passed).min(self.rest.len()));
        for byte in &piece {
            if let Some(slot) = self.prefix.get_mut(self.prefix_passed) {
                *slot = *byte;
            }
            self.prefix_passed += 1;
        }
        if self.prefix_passed == PREFIX_BYTES {
            let [_, length @ ..] = self.prefix;
            self.missing = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            self.prefix_passed = 0;
        }
        piece
    }
}

impl<B> Body for MessagePieces<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(self.cut()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body_util::{BodyExt, StreamBody};
    use proptest::prelude::*;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let length = u32::try_from(length).unwrap();
        let mut message = vec![0];
        message.extend(length.to_be_bytes());
        message.extend((0..length).map(|byte| byte as u8));
        message
    }

    fn pieces(wire: &[u8], cuts: &[usize]) -> Vec<Bytes> {
        let mut frames: Vec<Result<Frame<Bytes>, Infallible>> = Vec::new();
        let mut start = 0;
        for &end in cuts.iter().chain([&wire.len()]) {
            frames.push(Ok(Frame::data(Bytes::copy_from_slice(&wire[start..end]))));
            start = end;
        }
        let mut body = MessagePieces::new(StreamBody::new(stream::iter(frames)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut pieces = Vec::new();
            while let Some(frame) = body.frame().await {
                pieces.push(frame.unwrap().into_data().unwrap());
            }
            pieces
        })
    }

    #[test]
    fn prefix_and_message_are_pieces_of_their_own() {
        let wire = [message(3), message(0), message(7)].concat();
        let lengths: Vec<usize> = pieces(&wire, &[]).iter().map(Bytes::len).collect();
        assert_eq!(lengths, [5, 3, 5, 5, 7]);
    }

    proptest! {
        #[test]
        fn bytes_stay_as_they_are_and_pieces_end_with_messages(
            lengths in prop::collection::vec(0..300_usize, 0..8),
            cuts in prop::collection::vec(0..2_000_usize, 0..10),
        ) {
            let wire: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(wire.len())).collect();
            cuts.sort_unstable();
            let pieces = pieces(&wire, &cuts);
            prop_assert_eq!(pieces.concat(), wire);
            let ends: Vec<usize> = pieces
                .iter()
                .scan(0, |end, piece| { *end += piece.len(); Some(*end) })
                .collect();
            let mut start = 0;
            for length in lengths {
                for end in [start + PREFIX_BYTES, start + PREFIX_BYTES + length] {
                    prop_assert!(ends.contains(&end));
                }
                start += PREFIX_BYTES + length;
            }
        }
    }
}
