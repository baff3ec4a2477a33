//! `coverline coverage` and `coverline gaps`: what is there and what is missing, at a glance and for scripts.

use crate::place::{Place, coverline};

const DAY: &str = "\
ts,symbol,close
2025-03-03T00:00:00Z,AMD,1
2025-03-03T01:00:00Z,AMD,2
2025-03-03T05:00:00Z,AMD,3
2025-03-03T00:00:00Z,NVDA,4
";

const NEXT: &str = "ts,symbol,close\n2025-03-03T02:00:00Z,AMD,1\n";

#[test]
fn what_is_there_is_drawn_and_what_is_missing_listed() {
    for place in [Place::folder(), Place::server()] {
        place.create_prices();
        let empty = place.run(&["coverage", "prices"]);
        empty.expect_error(1, &["append to it first"]);
        place.append(&[&place.file("day.csv", DAY)]).expect(0);
        place.append(&[&place.file("next.csv", NEXT)]).expect(0);

        let picture = place.run(&["coverage", "prices"]).expect(0).text();
        let lines: Vec<&str> = picture.lines().collect();
        assert!(lines[0].trim_start().starts_with("2025-03-03T00:00:00Z "), "{picture}");
        assert!(lines[0].ends_with(" 2025-03-03T06:00:00Z"), "{picture}");
        // Six hours in sixty cells.
        let row = |name: &str, cells: [&str; 6]| {
            format!("{name:4}  {}", cells.map(|cell| cell.repeat(10)).concat())
        };
        assert_eq!(lines[1], row("AMD", ["█", "█", "█", "·", "·", "█"]), "{picture}");
        assert_eq!(lines[2], row("NVDA", ["█", "·", "·", "·", "·", "·"]), "{picture}");
        let then = place.run(&["coverage", "prices", "--version", "2"]).expect(0).text();
        assert!(then.contains(&row("AMD", ["█", "█", "·", "·", "·", "█"])), "{then}");

        let csv = place.run(&["coverage", "prices", "--format", "csv"]).expect(0).text();
        assert_eq!(csv.lines().count(), 4, "{csv}");
        let gaps = place.run(&["gaps", "prices", "--format", "csv"]).expect(0).text();
        let expected = "symbol,gap_start,gap_end,missing_buckets\n\
                        AMD,2025-03-03T03:00:00Z,2025-03-03T05:00:00Z,2\n";
        assert_eq!(gaps, expected);
        let range = ["--from", "2025-03-03", "--to", "2025-03-03T02:00:00Z"];
        let gaps = [&["gaps", "prices", "--format", "csv"], &range[..]].concat();
        let gaps = place.run(&gaps).expect(0).text();
        assert!(gaps.ends_with("NVDA,2025-03-03T01:00:00Z,2025-03-03T02:00:00Z,1\n"), "{gaps}");
        let table = place.run(&["gaps", "prices", "--version", "2"]).expect(0).text();
        assert!(table.contains("|               3\n"), "{table}");

        for (arguments, words) in [
            (&["gaps", "absent"][..], "absent"),
            (&["gaps", "prices", "--version", "9"], "its versions are 1 to 3"),
            (&["gaps", "prices", "--at", "1999-12-31"], "the oldest is of"),
            (&["gaps", "prices", "--at", "monday"], "is not a time"),
            (&["gaps", "prices", "--from", "2025-03-04", "--to", "2025-03-03"], "is empty"),
            (&["coverage", "prices", "--output", "x.csv"], "--format"),
        ] {
            place.run(arguments).expect_error(1, &[words]);
        }
        place.close();
    }
    for arguments in [
        &["gaps", "prices", "--from", "2025-03-04"][..],
        &["gaps", "prices", "--version", "1", "--at", "2025-03-04"],
    ] {
        let output = coverline().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
