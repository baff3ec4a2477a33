//! The one table from error kinds to gRPC codes, with structured details.
