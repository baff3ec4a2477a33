//! C1, C2, C4, C6, C7, C16 and C17 in every order of events that is explored (T8).

use schedules::{appends, catalog, commits, explore, folder, moments, rivals, stops};

#[test]
fn commits_of_one_server() {
    let expected = [
        "acknowledged",
        "refused for another",
        "failed with a record",
        "records of several commits",
        "claims planned again",
        "callers that gave up",
        "caller gone and there",
        "steps seen by readers",
    ];
    explore("commits", 3_500, commits, &expected);
}

#[test]
fn commits_of_two_servers() {
    let expected = [
        "acknowledged",
        "refused for another",
        "failed with a record",
        "records of several commits",
        "claims planned again",
        "callers that gave up",
        "caller gone and there",
        "steps seen by readers",
        "tickets redeemed",
    ];
    explore("rivals", 2_000, rivals, &expected);
}

#[test]
fn appends_retries_flushes_and_reads() {
    let expected = ["appends acknowledged", "appends refused", "first receipts", "flushes"];
    explore("appends", 1_000, appends, &expected);
}

#[test]
fn ends_of_a_server() {
    let expected = [
        "acknowledged",
        "servers drained",
        "servers cut off",
        "servers that ended themselves",
        "unknown and there",
        "caller gone and there",
        "caller gone and not there",
    ];
    explore("stops", 2_000, stops, &expected);
}

#[test]
fn tables_that_come_and_go() {
    let expected = [
        "tables made again",
        "tables not found",
        "commits to a table that goes",
        "commits to a table that came",
        "commits refused by a table that is gone",
        "looks at the catalog",
    ];
    explore("catalog", 900, catalog, &expected);
}

#[test]
fn statements_about_two_tables() {
    let expected = ["statements about two tables", "readings that moved"];
    explore("moments", 500, moments, &expected);
}

#[test]
fn a_folder_that_is_handed_over() {
    explore("folder", 100, folder, &["tables made", "roots handed over"]);
}
