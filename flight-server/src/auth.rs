//! Handshake and the caller's identity. Authentication is off; any credentials are accepted and a bearer is returned.
