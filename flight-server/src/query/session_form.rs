//! [`SessionForm`]: the form of results that a client chose for its session. Pure.
//!
//! The server remembers none: the choice is in a cookie, which a client that keeps cookies sends with every call. So a session ends
//! with its client and not with the server, nothing grows with the number of clients, and nobody sees another's choice.

use arrow::ipc::CompressionType;
use tonic::Status;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

use crate::limits;
use crate::status;

/// Name of the cookie.
const COOKIE: &str = "coverline_form";

/// Header of requests that carry cookies.
const COOKIES: &str = "cookie";

/// Words of its value, in the order of the fields: compression, types, endpoints.
const NONE: &str = "none";
const LZ4: &str = "lz4";
const ZSTD: &str = "zstd";
const NATIVE: &str = "native";
const PORTABLE: &str = "portable";

/// What a session asks for where a call does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionForm {
    /// How buffers are compressed.
    pub(crate) compression: Option<CompressionType>,
    /// Whether types stay as they are.
    pub(crate) native_types: bool,
    /// Endpoints to divide a result among; one is not to.
    pub(crate) endpoints: usize,
}

impl Default for SessionForm {
    fn default() -> Self {
        Self { compression: None, native_types: false, endpoints: 1 }
    }
}

impl SessionForm {
    /// What the cookies of a call say; the default without ours.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a cookie of ours that makes no sense.
    pub(crate) fn of(headers: &MetadataMap) -> Result<Self, Status> {
        let cookies = headers.get_all(COOKIES).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|line| line.split(';')).filter_map(|one| one.split_once('='));
        let Some((_, value)) = pairs.find(|(name, _)| name.trim() == COOKIE) else {
            return Ok(Self::default());
        };
        // Some clients put what they were given into quotes.
        let value = value.trim().trim_matches('"');
        if value.is_empty() {
            return Ok(Self::default());
        }
        Self::read(value).ok_or_else(|| {
            status::invalid(format!(
                "the cookie \"{COOKIE}\" has the value {value:?}, which this server did not give; set the session options again \
                 on a new connection"
            ))
        })
    }

    fn read(value: &str) -> Option<Self> {
        let mut words = value.split('.');
        let compression = compression(words.next()?)?;
        let native_types = match words.next()? {
            NATIVE => true,
            PORTABLE => false,
            _ => return None,
        };
        let endpoints = words.next()?.parse().ok().filter(is_endpoints)?;
        words.next().is_none().then_some(Self { compression, native_types, endpoints })
    }

    /// Header and value that have the client keep this.
    pub(crate) fn cookie(self) -> (&'static str, Result<AsciiMetadataValue, Status>) {
        let types = if self.native_types { NATIVE } else { PORTABLE };
        let compression = compression_word(self.compression);
        let age = if self == Self::default() { "; Max-Age=0" } else { "" };
        let text = format!("{COOKIE}={compression}.{types}.{}; Path=/{age}", self.endpoints);
        let value = text.parse().map_err(|_| status::internal("a cookie is no header value"));
        ("set-cookie", value)
    }
}

/// Whether a result can be divided among so many endpoints.
pub(crate) fn is_endpoints(count: &usize) -> bool {
    (1..=limits::ENDPOINTS_MAX).contains(count)
}

/// The compression that a word asks for; `None` for other words.
#[allow(clippy::option_option, reason = "no compression is one of the answers")]
pub(crate) fn compression(word: &str) -> Option<Option<CompressionType>> {
    match word {
        NONE => Some(None),
        LZ4 => Some(Some(CompressionType::LZ4_FRAME)),
        ZSTD => Some(Some(CompressionType::ZSTD)),
        _ => None,
    }
}

/// The word for a compression.
pub(crate) fn compression_word(compression: Option<CompressionType>) -> &'static str {
    match compression {
        Some(CompressionType::LZ4_FRAME) => LZ4,
        Some(CompressionType::ZSTD) => ZSTD,
        _ => NONE,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn with(cookies: &[&str]) -> Result<SessionForm, Status> {
        let mut headers = MetadataMap::new();
        for cookie in cookies {
            headers.append(COOKIES, cookie.parse().unwrap());
        }
        SessionForm::of(&headers)
    }

    #[test]
    fn a_cookie_brings_back_what_it_was_given_for() {
        for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            for (native_types, endpoints) in [(false, 1), (true, 1), (false, limits::ENDPOINTS_MAX)]
            {
                let form = SessionForm { compression, native_types, endpoints };
                let (name, value) = form.cookie();
                assert_eq!(name, "set-cookie");
                let value = value.unwrap();
                let (pair, attributes) = value.to_str().unwrap().split_once(';').unwrap();
                assert_eq!(with(&[pair]).unwrap(), form);
                assert_eq!(with(&["other=1; x", &format!("a=b;{pair} ; c=\"d\"")]).unwrap(), form);
                let (name, text) = pair.split_once('=').unwrap();
                assert_eq!(with(&[&format!("{name}=\"{text}\"")]).unwrap(), form);
                assert_eq!(attributes.contains("Max-Age=0"), form == SessionForm::default());
            }
        }
        assert_eq!(with(&[]).unwrap(), SessionForm::default());
        assert_eq!(with(&["coverline_form="]).unwrap(), SessionForm::default());
        for wrong in [
            "x",
            "zstd.native",
            "zstd.native.0",
            "zstd.native.65",
            "zip.native.1",
            "zstd.own.1",
            "lz4.native.1.1",
        ] {
            let refused = with(&[&format!("coverline_form={wrong}")]).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{wrong}");
        }
    }
}
