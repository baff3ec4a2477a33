//! What a root should show: the tables by name, and of each table everything that an answer has promised.

use std::collections::{BTreeMap, BTreeSet};

/// Entities of the rows.
pub(crate) const ENTITIES: [&str; 3] = ["a", "b", "c"];

/// Index values in a bucket.
pub(crate) const BUCKET: i64 = 10;

/// A row. The tag says which append brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) entity: usize,
    pub(crate) n: i64,
    pub(crate) tag: i64,
}

/// An entity and a bucket.
pub(crate) type Pair = (usize, i64);

impl Row {
    pub(crate) fn pair(&self) -> Pair {
        (self.entity, self.n.div_euclid(BUCKET))
    }
}

/// What is remembered of an append id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) version: u64,
    pub(crate) row_count: u64,
    pub(crate) rows_skipped: u64,
}

/// A table as of some moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TableFacts {
    pub(crate) version: u64,
    pub(crate) rows: BTreeSet<Row>,
    /// Rows that no flush has made a segment of.
    pub(crate) hot_rows: u64,
    pub(crate) pairs: BTreeSet<Pair>,
    pub(crate) keys: BTreeMap<String, Known>,
}

/// A root as of some moment.
pub(crate) type Facts = BTreeMap<String, TableFacts>;

/// The same with what is only looked at now and then.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) facts: Facts,
    pub(crate) owners: BTreeMap<String, BTreeMap<Pair, u64>>,
}

impl Model {
    pub(crate) fn create(&mut self, name: &str) {
        let table = TableFacts { version: 1, ..TableFacts::default() };
        self.facts.insert(name.to_owned(), table);
        self.owners.insert(name.to_owned(), BTreeMap::new());
    }

    pub(crate) fn drop_table(&mut self, name: &str) {
        self.facts.remove(name);
        self.owners.remove(name);
    }

    pub(crate) fn table(&self, name: &str) -> &TableFacts {
        &self.facts[name]
    }

    /// The rows become those of `version`.
    pub(crate) fn append(&mut self, name: &str, version: u64, rows: &[Row], is_hot: bool) {
        let table = self.facts.get_mut(name).unwrap();
        table.version = version;
        table.rows.extend(rows);
        table.hot_rows += if is_hot { rows.len() as u64 } else { 0 };
        for row in rows {
            table.pairs.insert(row.pair());
            self.owners.get_mut(name).unwrap().insert(row.pair(), version);
        }
    }

    pub(crate) fn remember(&mut self, name: &str, key: &str, known: Known) {
        self.facts.get_mut(name).unwrap().keys.insert(key.to_owned(), known);
    }

    pub(crate) fn flush(&mut self, name: &str) {
        let table = self.facts.get_mut(name).unwrap();
        table.version += 1;
        table.hot_rows = 0;
    }
}
