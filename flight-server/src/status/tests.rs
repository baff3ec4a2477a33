//! What each kind of error becomes on the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use super::*;

fn overlap() -> Error {
    Error::overlap_with(Overlap {
        table: "prices".into(),
        overlap_count: 3,
        example_entity: "symbol=\"NVDA é\"".into(),
        bucket_start: "2025-03-01T00:00:00Z".into(),
        bucket_end: "2025-03-01T01:00:00Z".into(),
        owner_version: Some(7),
        table_version: 9,
        identical: Some(false),
    })
}

#[test]
fn an_overlap_carries_its_facts_three_ways() {
    let status = append(&overlap());
    assert_eq!(status.code(), Code::AlreadyExists);
    assert!(status.message().contains("3 buckets"), "{}", status.message());
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("COVERAGE_OVERLAP", "coverline"));
    let expected = [
        ("committed", "no"),
        ("table", "prices"),
        ("overlap_count", "3"),
        ("example_entity", "symbol=\"NVDA é\""),
        ("bucket_start", "2025-03-01T00:00:00Z"),
        ("bucket_end", "2025-03-01T01:00:00Z"),
        ("owner_version", "7"),
        ("table_version", "9"),
        ("identical", "false"),
    ];
    assert_eq!(info.metadata.len(), expected.len());
    for (key, value) in expected {
        assert_eq!(info.metadata.get(key).map(String::as_str), Some(value), "{key}");
    }
    let trailer = |name| status.metadata().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(trailer("x-coverline-error"), "COVERAGE_OVERLAP");
    assert_eq!(trailer("x-coverline-overlap-count"), "3");
    assert_eq!(trailer("x-coverline-overlap-example"), "symbol=\"NVDA %C3%A9\"");
    assert_eq!(trailer("x-arrow-status"), "45");
    assert_eq!(trailer("x-coverline-committed"), "no");
    assert_eq!(trailer("x-coverline-overlap-identical"), "false");
}

#[test]
fn an_overlap_of_which_nobody_knows_does_not_say_whether_it_is_identical() {
    let overlap = Overlap { identical: None, ..overlap().overlap().unwrap().clone() };
    let status = append(&Error::overlap_with(overlap));
    assert!(!status.get_details_error_info().unwrap().metadata.contains_key("identical"));
    assert!(status.metadata().get("x-coverline-overlap-identical").is_none());
}

#[track_caller]
fn committed(status: &Status) -> String {
    let metadata = status.get_details_error_info().unwrap().metadata;
    let trailer = status.metadata().get("x-coverline-committed").unwrap().to_str().unwrap();
    assert_eq!(metadata["committed"], trailer);
    metadata["committed"].clone()
}

/// C2, for every kind: before the commit, after it began, and of a call that does not say where it failed.
#[test]
fn every_kind_says_whether_anything_was_committed() {
    for (kind, code, of_commit, of_call) in [
        (ErrorKind::Invalid, Code::InvalidArgument, "no", "no"),
        (ErrorKind::SchemaMismatch, Code::InvalidArgument, "no", "no"),
        (ErrorKind::NotFound, Code::NotFound, "no", "no"),
        (ErrorKind::AlreadyExists, Code::AlreadyExists, "no", "no"),
        (ErrorKind::Overlap, Code::AlreadyExists, "no", "no"),
        (ErrorKind::Precondition, Code::FailedPrecondition, "no", "no"),
        (ErrorKind::Conflict, Code::Aborted, "no", "no"),
        (ErrorKind::Indeterminate, Code::Unknown, "unknown", "unknown"),
        (ErrorKind::Corrupt, Code::DataLoss, "no", "unknown"),
        (ErrorKind::Unavailable, Code::Unavailable, "no", "no"),
        (ErrorKind::Exhausted, Code::ResourceExhausted, "no", "no"),
        (ErrorKind::Unsupported, Code::Unimplemented, "no", "no"),
        (ErrorKind::Internal, Code::Internal, "unknown", "unknown"),
    ] {
        let error = Error::new(kind, "x");
        let (before, during) = (append(&error), commit(&error));
        assert_eq!((before.code(), during.code()), (code, code), "{kind:?}");
        assert_eq!(committed(&before), "no", "{kind:?}");
        assert_eq!(committed(&during), of_commit, "{kind:?}");
        assert_eq!(committed(&settled(during)), of_commit, "{kind:?}: who knew is believed");
        assert_eq!(committed(&settled(core(&error))), of_call, "{kind:?}");
        assert_eq!(committed(&not_committed(core(&error))), "no", "{kind:?}");
    }
}

/// C2, for every code: also of statuses that only the transport made.
#[test]
fn every_code_says_whether_anything_was_committed() {
    for code in (1..=16).map(Code::from_i32) {
        let ambiguous = matches!(
            code,
            Code::Cancelled
                | Code::Unknown
                | Code::DeadlineExceeded
                | Code::Internal
                | Code::DataLoss
        );
        let status = settled(Status::new(code, "x"));
        assert_eq!(status.code(), code);
        assert_eq!(status.message(), "x");
        assert_eq!(committed(&status), if ambiguous { "unknown" } else { "no" }, "{code:?}");
        assert_eq!(committed(&not_committed(Status::new(code, "x"))), "no");
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.domain, ERROR_DOMAIN);
        assert!(!info.reason.is_empty());
    }
}

#[test]
fn the_commits_before_a_failure_are_told() {
    let status = after_batches(append(&overlap()), 3);
    let metadata = status.get_details_error_info().unwrap().metadata;
    assert_eq!(
        (metadata["batches_committed"].as_str(), metadata["committed"].as_str()),
        ("3", "no")
    );
    assert_eq!(metadata["overlap_count"], "3");
    assert_eq!(status.metadata().get("x-coverline-overlap-count").unwrap(), "3");
}

#[test]
fn a_table_that_stays_is_told_besides_everything_else() {
    let status = table_stays(append(&overlap()), "prices");
    assert_eq!((status.code(), committed(&status)), (Code::AlreadyExists, "no".to_owned()));
    let advice = "table \"prices\" was created and stays: append to it, or drop it";
    assert!(status.message().contains("3 buckets") && status.message().ends_with(advice));
    let metadata = status.get_details_error_info().unwrap().metadata;
    assert_eq!(
        (metadata["table_stays"].as_str(), metadata["overlap_count"].as_str()),
        ("true", "3")
    );
    let long = table_stays(invalid("é".repeat(100_000)), "prices");
    assert!(long.message().len() <= limits::ERROR_MESSAGE_BYTES_MAX);
    assert!(long.message().ends_with(advice));
}

#[test]
fn the_engine_error_is_found_through_every_wrapper() {
    let corrupt = || Error::new(ErrorKind::Corrupt, "segment x is damaged");
    let wrapped = [
        DataFusionError::External(Box::new(corrupt())),
        DataFusionError::Context(
            "scan".into(),
            Box::new(DataFusionError::External(Box::new(corrupt()))),
        ),
        DataFusionError::Shared(Arc::new(DataFusionError::External(Box::new(corrupt())))),
        DataFusionError::ArrowError(
            Box::new(ArrowError::ExternalError(Box::new(DataFusionError::External(Box::new(
                corrupt(),
            ))))),
            None,
        ),
        DataFusionError::ParquetError(Box::new(ParquetError::External(Box::new(corrupt())))),
    ];
    for error in &wrapped {
        let status = query(error);
        assert_eq!(status.code(), Code::DataLoss, "{error}");
        assert_eq!(status.message(), "segment x is damaged");
    }
}

#[test]
fn sql_errors_have_codes_that_a_client_can_act_on() {
    let code = |error: DataFusionError| query(&error).code();
    assert_eq!(code(DataFusionError::Plan("table 'a.b.c' not found".into())), Code::NotFound);
    assert_eq!(code(DataFusionError::Plan("bad".into())), Code::InvalidArgument);
    assert_eq!(code(DataFusionError::NotImplemented("x".into())), Code::Unimplemented);
    assert_eq!(code(DataFusionError::ResourcesExhausted("x".into())), Code::ResourceExhausted);
    assert_eq!(
        code(DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None)),
        Code::InvalidArgument
    );
    assert_eq!(code(DataFusionError::Internal("x".into())), Code::Internal);
}

/// HTTP/2 counts 32 bytes for each header besides its name and value.
fn trailer_bytes(status: Status) -> usize {
    let headers = status.into_http::<()>().into_parts().0.headers;
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

#[test]
fn the_longest_error_stays_within_what_clients_accept() {
    for character in ["é", "a", "\"", " ", "\u{1F600}", "%", "\n"] {
        let long = character.repeat(100_000);
        let overlap = Overlap {
            table: bounded(&long, 255).to_owned(),
            example_entity: long.clone(),
            ..overlap().overlap().unwrap().clone()
        };
        let overlapping = append(&Error::overlap_with(overlap));
        let stays = table_stays(after_batches(overlapping.clone(), 3), "prices");
        for status in [invalid(&long), overlapping, stays] {
            assert!(!status.message().is_empty());
            let bytes = trailer_bytes(status);
            assert!(bytes < 8 << 10, "{character:?}: {bytes}");
        }
    }
}
