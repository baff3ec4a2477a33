//! T18: every target reads the inputs that are kept and some new ones. At night, with `COVERLINE_SOAK_SECONDS`, it goes on with
//! other inputs for that time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use fuzz::hunt::hunt;
use fuzz::{corpus, seeds, targets};

macro_rules! hunts {
    ($($name:ident: $target:expr,)*) => {
        $(
            #[test]
            fn $name() {
                hunt(&$target, Path::new(env!("CARGO_TARGET_TMPDIR")));
            }
        )*

        #[test]
        fn every_target_has_a_test_and_a_folder() {
            let tested = BTreeSet::from([$($target.name),*]);
            let all: BTreeSet<_> = targets::ALL.iter().map(|target| target.name).collect();
            assert_eq!(tested, all);
            let folder = corpus::folder(targets::ALL[0]);
            let folders = fs::read_dir(folder.parent().unwrap()).unwrap();
            let folders = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            assert_eq!(folders.collect::<BTreeSet<_>>(), all.into_iter().map(str::to_owned).collect());
        }
    };
}

hunts! {
    flight_data_stream: targets::flight::FLIGHT_DATA_STREAM,
    ipc_precheck: targets::flight::IPC_PRECHECK,
    ticket_decode: targets::requests::TICKET_DECODE,
    any_command_decode: targets::requests::ANY_COMMAND_DECODE,
    prepared_handle_params: targets::requests::PREPARED_HANDLE_PARAMS,
    append_id_header: targets::requests::APPEND_ID_HEADER,
    min_version_header: targets::requests::MIN_VERSION_HEADER,
    sql_gate: targets::sql::SQL_GATE,
    commit_record_decode: targets::log::COMMIT_RECORD_DECODE,
    checkpoint_decode: targets::log::CHECKPOINT_DECODE,
    coverage_decode: targets::coverage::COVERAGE_DECODE,
    table_name: targets::names::TABLE_NAME,
    bucket_math: targets::buckets::BUCKET_MATH,
    log_replay: targets::replay::LOG_REPLAY,
    parquet_segment_open: targets::segment::PARQUET_SEGMENT_OPEN,
}

/// The corpus has what the product writes today, byte by byte. Where the product or a target reads and writes something new,
/// `COVERLINE_WRITE_SEEDS=1` puts that into the corpus.
#[test]
fn the_corpus_has_what_the_product_writes() {
    let write = std::env::var_os("COVERLINE_WRITE_SEEDS").is_some();
    for target in targets::ALL {
        let seeds = seeds::of(target);
        if write {
            corpus::write_seeds(target, &seeds);
        }
        let kept = corpus::kept(target).into_iter().filter_map(|kept| {
            let name = kept.path.file_name()?.to_str()?.strip_prefix("seed-")?.to_owned();
            Some((name, kept.bytes))
        });
        let kept: BTreeMap<_, _> = kept.collect();
        let seeds = seeds.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        assert!(
            kept == seeds,
            "{}: the seeds in its folder are old; COVERLINE_WRITE_SEEDS=1 writes them anew",
            target.name
        );
    }
}
