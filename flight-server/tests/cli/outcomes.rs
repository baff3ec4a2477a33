//! C2, C4: what commands say when the connection breaks before the answer.

use std::path::{Path, PathBuf};

use crate::cutter::Cutter;
use crate::place::Place;
use crate::{MONDAY, TUESDAY};

/// C2, C4: an answer that is lost on its way is asked for again under the file's own id.
#[test]
fn a_lost_answer_is_asked_for_again_and_then_the_outcome_is_unknown() {
    let place = Place::server();
    place.create_prices();
    let monday = place.file("monday.csv", MONDAY);
    let tuesday = place.file("tuesday.csv", TUESDAY);
    // A receipt names the table; nothing else that an append hears does.
    let proxy = Cutter::before(&place.arguments[1], b"prices");
    let append = |arguments: &[&str]| {
        let command = ["append", "prices", "--null", "NA"];
        Place::run_through(&proxy, &[&command, arguments].concat())
    };
    proxy.cut_next(1);
    let said = append(&[&monday]).expect(0).text();
    assert_eq!(said, format!("{monday}: already loaded as version 2 (4 rows, 4 buckets)\n"));
    // Without an id, another try might do it twice.
    proxy.cut_next(1);
    append(&[&tuesday, "--no-append-id"]).expect_error(
        5,
        &["tuesday.csv", "may or may not be committed", "hint: without an append id"],
    );
    assert_eq!(place.query("SELECT count(*) AS n FROM prices"), "n\n6\n");
    // There is an end to trying, and whoever runs the job again learns what became of it.
    let wednesday = place.file("wednesday.csv", TUESDAY.replace("03-04", "03-05"));
    proxy.cut_next(usize::MAX);
    append(&[&wednesday]).expect_error(
        5,
        &["wednesday.csv", "may or may not be committed", "run the same command again"],
    );
    proxy.cut_next(0);
    let said = append(&[&wednesday]).expect(0).text();
    assert!(said.contains("already loaded as version 4 (2 rows, 2 buckets)"), "{said}");
    place.close();
}

/// C2: what becomes of the file after an answer was lost tells nothing of what was committed.
#[test]
fn a_file_that_changes_after_a_lost_answer_leaves_the_outcome_unknown() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("gone", |path| std::fs::remove_file(path).unwrap()),
        ("grown", |path| std::fs::write(path, format!("{MONDAY}{MONDAY}")).unwrap()),
        ("spoilt", |path| std::fs::write(path, "").unwrap()),
    ];
    let place = Place::server();
    let proxy = Cutter::before(&place.arguments[1], b"plain-table");
    place.run(&["create", "plain-table", "--plain"]).expect(0);
    for (number, (what, change)) in changes.into_iter().enumerate() {
        let file = place.file(&format!("{what}.csv"), MONDAY);
        let path = PathBuf::from(&file);
        proxy.cut_after(move || change(&path));
        let append = ["append", "plain-table", &file, "--append-id", what];
        Place::run_through(&proxy, &append)
            .expect_error(5, &[what, "may or may not be committed", "coverline log show TABLE"]);
        let count = place.query("SELECT count(*) AS n FROM \"plain-table\"");
        assert_eq!(count, format!("n\n{}\n", 4 * (number + 1)));
    }
    place.close();
}

/// Asking for the schema changes nothing, and is as patient as the append behind it.
#[test]
fn an_append_whose_first_question_is_lost_asks_again() {
    let place = Place::server();
    place.create_prices();
    place.append(&[&place.file("monday.csv", MONDAY)]).expect(0);
    // Of what an append hears, only the schema names a column.
    let proxy = Cutter::before(&place.arguments[1], b"close");
    proxy.cut_next(1);
    let tuesday = place.file("tuesday.csv", TUESDAY);
    let said = Place::run_through(&proxy, &["append", "prices", &tuesday]).expect(0).text();
    assert_eq!(said, format!("{tuesday}: version 3, 2 rows, 2 buckets\n"));
    place.close();
}

/// C2: a statement that changes something has run before its answer comes.
#[test]
fn a_change_whose_answer_is_lost_is_not_said_to_be_undone() {
    const ROWS: u64 = 70_001;
    let place = Place::server();
    place.run(&["query", "CREATE TABLE numbers (n BIGINT)"]).expect(0);
    let insert = format!("INSERT INTO numbers SELECT value FROM generate_series(1, {ROWS})");
    let count = || place.query("SELECT count(*) AS n FROM numbers");

    // The answer of GetFlightInfo names the column that DoGet would give.
    let proxy = Cutter::before(&place.arguments[1], b"count");
    let lost = format!("connection to {}", proxy.url);
    let unknown = ["may or may not be committed", &lost, "hint: look before"];
    proxy.cut_next(1);
    Place::run_through(&proxy, &["query", &insert]).expect_error(5, &unknown);
    assert_eq!(count(), format!("n\n{ROWS}\n"));
    proxy.cut_next(1);
    let create = "CREATE TABLE more (n BIGINT)";
    Place::run_through(&proxy, &["query", create]).expect_error(5, &unknown);
    place.run(&["query", create]).expect_error(1, &["exists already"]);
    // A query changes nothing, whatever becomes of it.
    proxy.cut_next(1);
    let select = ["query", "SELECT count(*) AS count FROM numbers"];
    let said = Place::run_through(&proxy, &select).expect_error(1, &[&lost, "see that the server"]);
    assert!(!said.stderr.contains("committed"), "{}", said.stderr);

    // The count itself, which comes when all is done.
    let proxy = Cutter::before(&place.arguments[1], &ROWS.to_le_bytes());
    proxy.cut_next(1);
    Place::run_through(&proxy, &["query", &insert])
        .expect_error(5, &["what it changes is committed", "instead of running it again"]);
    assert_eq!(count(), format!("n\n{}\n", 2 * ROWS));
    place.close();
}

#[test]
fn a_table_whose_making_is_not_answered_may_be_there() {
    let place = Place::server();
    let proxy = Cutter::before(&place.arguments[1], b"\"version\"");
    proxy.cut_next(1);
    let create = ["create", "names", "--plain"];
    Place::run_through(&proxy, &create)
        .expect_error(5, &["may or may not be committed", "--if-not-exists"]);
    let again = place.run(&[&create[..], &["--if-not-exists"]].concat()).expect(0).text();
    assert!(again.contains("exists already"), "{again}");
    place.close();
}
