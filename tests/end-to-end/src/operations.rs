//! The kinds of change that the fault tests cut short, and what must hold afterwards.
//!
//! Where and how they are cut short (a kill, a failing call, a lost disk) is for the tests. Every kind is made so that it can
//! be run many times on one root.

use std::collections::BTreeSet;

use coverline_proto::flight::OverlapPolicy;
use futures::future::join_all;
use tonic::Code;

use crate::ledger::{Answer, Ledger, Outcome, Size, outcome_of};
use crate::trace::Made;
use crate::{AppendError, Client, Site, TestResult};

/// A kind of change. A clone knows what the original knew.
#[allow(async_fn_in_trait, reason = "used in these tests only, on one thread")]
pub trait Operation: Clone {
    /// What the server answers.
    type Answer: std::fmt::Debug;

    /// Makes what must be there before.
    async fn prepare(&mut self, site: &mut Site) -> TestResult;

    /// The change itself.
    async fn run(&self, client: &Client) -> Self::Answer;

    /// Whether the server has done everything that the change leads to, once it is answered.
    fn is_over(&self, _made: &[Made]) -> bool {
        true
    }

    /// Whether the server does more of its own accord after the answer.
    fn has_chore(&self) -> bool {
        false
    }

    /// Takes note of the answer, which must be one of the three outcomes of C2. Of several changes, the worst counts.
    fn record(&mut self, answer: &Self::Answer) -> TestResult<Outcome>;

    /// What is known of the table that it is about.
    fn ledger(&self) -> &Ledger;

    /// The same, to note what else was tried.
    fn ledger_mut(&mut self) -> &mut Ledger;

    /// Compares what is there with what is known; an error when they differ. Returns what there is of unknown fate.
    async fn found(&self, client: &Client) -> TestResult<BTreeSet<i64>> {
        self.ledger().check(client).await
    }

    /// On the server that answered: it still reads right, and, where `works`, it still takes changes.
    async fn carries_on(&mut self, client: &Client, works: bool) -> TestResult {
        carry_on(self.ledger_mut(), client, works).await
    }

    /// After a restart: what is there agrees with the answer, the change tried again gives what it must, and another one works.
    async fn settles(&mut self, client: &Client) -> TestResult {
        settle(self.ledger_mut(), client).await
    }
}

/// Compares, tries again what is unknown, and makes another append.
async fn settle(ledger: &mut Ledger, client: &Client) -> TestResult {
    let found = ledger.check(client).await?;
    ledger.settle(client, &found).await?;
    ledger.append(client).await?;
    ledger.check(client).await?;
    Ok(())
}

/// Compares, and makes another append, which must work where it is said to.
async fn carry_on(ledger: &mut Ledger, client: &Client, works: bool) -> TestResult {
    ledger.check(client).await?;
    if works {
        ledger.append(client).await?;
    } else {
        let hour = ledger.next_hour();
        let answer = ledger.send(client, hour).await;
        ledger.record(hour, &answer)?;
    }
    ledger.check(client).await?;
    Ok(())
}

/// Appends to a table that has some, one or several together.
#[derive(Debug, Clone)]
pub struct Appends {
    ledger: Ledger,
    hours: Vec<i64>,
    together: usize,
}

impl Appends {
    /// `together` concurrent appends of this size.
    pub fn new(size: Size, together: usize) -> Self {
        Self { ledger: Ledger::new("t", size), hours: Vec::new(), together }
    }
}

impl Operation for Appends {
    type Answer = Vec<Answer>;

    async fn prepare(&mut self, site: &mut Site) -> TestResult {
        let client = &site.client().await?;
        if self.hours.is_empty() {
            self.ledger.create(client).await?;
            self.ledger.append(client).await?;
        }
        self.hours = (0..self.together).map(|_| self.ledger.next_hour()).collect();
        Ok(())
    }

    async fn run(&self, client: &Client) -> Vec<Answer> {
        join_all(self.hours.iter().map(|hour| self.ledger.send(client, *hour))).await
    }

    fn record(&mut self, answers: &Vec<Answer>) -> TestResult<Outcome> {
        let mut worst = Outcome::Committed;
        for (hour, answer) in self.hours.iter().zip(answers) {
            match self.ledger.record(*hour, answer)? {
                Outcome::Committed => {}
                outcome if worst != Outcome::Unknown => worst = outcome,
                _ => {}
            }
        }
        Ok(worst)
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}

/// The first append to a table, which gives it its schema.
#[derive(Debug, Clone)]
pub struct FirstAppend {
    ledger: Ledger,
    size: Size,
    tables: usize,
}

impl FirstAppend {
    /// Of this size.
    pub fn new(size: Size) -> Self {
        Self { ledger: Ledger::new("", size), size, tables: 0 }
    }
}

impl Operation for FirstAppend {
    type Answer = Answer;

    async fn prepare(&mut self, site: &mut Site) -> TestResult {
        let client = &site.client().await?;
        self.tables += 1;
        self.ledger = Ledger::new(format!("t{}", self.tables), self.size);
        self.ledger.next_hour();
        self.ledger.create(client).await
    }

    async fn run(&self, client: &Client) -> Answer {
        self.ledger.send(client, 0).await
    }

    fn record(&mut self, answer: &Answer) -> TestResult<Outcome> {
        self.ledger.record(0, answer)
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}

/// An append of rows that the table has already, with another payload.
#[derive(Debug, Clone)]
pub struct RefusedOverlap {
    ledger: Ledger,
}

impl Default for RefusedOverlap {
    fn default() -> Self {
        // Rows in a segment: the owner of inline rows is known without a call.
        Self { ledger: Ledger::new("t", Size::LARGE) }
    }
}

impl Operation for RefusedOverlap {
    type Answer = Answer;

    async fn prepare(&mut self, site: &mut Site) -> TestResult {
        let client = &site.client().await?;
        if self.ledger.committed_count() == 0 {
            self.ledger.create(client).await?;
            self.ledger.append(client).await?;
        }
        Ok(())
    }

    async fn run(&self, client: &Client) -> Answer {
        let rows = self.ledger.batch(0).slice(0, 1);
        client.append(self.ledger.table(), OverlapPolicy::Reject, "", vec![rows]).await
    }

    fn record(&mut self, answer: &Answer) -> TestResult<Outcome> {
        match outcome_of(answer)? {
            Outcome::Committed => Err("an overlap was committed".into()),
            outcome => Ok(outcome),
        }
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}

/// Making a table.
#[derive(Debug, Clone)]
pub struct Create {
    ledger: Ledger,
    tables: usize,
    outcome: Outcome,
}

impl Default for Create {
    fn default() -> Self {
        Self { ledger: Ledger::new("", Size::SMALL), tables: 0, outcome: Outcome::Unknown }
    }
}

impl Operation for Create {
    type Answer = Result<i64, AppendError>;

    async fn prepare(&mut self, site: &mut Site) -> TestResult {
        // A server makes sure of the catalog's folders once, with the first table that it creates.
        site.restart().await?;
        self.tables += 1;
        self.ledger = Ledger::new(format!("t{}", self.tables), Size::SMALL);
        self.outcome = Outcome::Unknown;
        Ok(())
    }

    async fn run(&self, client: &Client) -> Self::Answer {
        client.change(&self.ledger.create_sql()).await
    }

    fn record(&mut self, answer: &Self::Answer) -> TestResult<Outcome> {
        self.outcome = outcome_of(answer)?;
        Ok(self.outcome)
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    async fn found(&self, client: &Client) -> TestResult<BTreeSet<i64>> {
        let there = exists_as_answered(client, &self.ledger, self.outcome, true).await?;
        Ok((there && self.outcome == Outcome::Unknown).then_some(0).into_iter().collect())
    }

    async fn carries_on(&mut self, client: &Client, works: bool) -> TestResult {
        exists_as_answered(client, &self.ledger, self.outcome, true).await?;
        if works && self.outcome != Outcome::Committed {
            self.run(client).await.map_err(|error| format!("creating again: {error:?}"))?;
            self.outcome = Outcome::Committed;
        }
        Ok(())
    }

    async fn settles(&mut self, client: &Client) -> TestResult {
        let there = exists_as_answered(client, &self.ledger, self.outcome, true).await?;
        match self.run(client).await {
            Ok(_) if !there => {}
            Err(AppendError::Refused { code: Code::AlreadyExists, .. }) if there => {}
            other => return Err(format!("there: {there}, creating again: {other:?}").into()),
        }
        self.outcome = Outcome::Committed;
        settle(&mut self.ledger, client).await
    }
}

/// Dropping a table that has rows.
#[derive(Debug, Clone)]
pub struct Drop {
    ledger: Ledger,
    tables: usize,
    outcome: Outcome,
}

impl Default for Drop {
    fn default() -> Self {
        Self { ledger: Ledger::new("", Size::SMALL), tables: 0, outcome: Outcome::Unknown }
    }
}

impl Operation for Drop {
    type Answer = Result<i64, AppendError>;

    async fn prepare(&mut self, site: &mut Site) -> TestResult {
        let client = &site.client().await?;
        self.tables += 1;
        self.ledger = Ledger::new(format!("t{}", self.tables), Size::SMALL);
        self.ledger.create(client).await?;
        self.ledger.append(client).await?;
        self.outcome = Outcome::Unknown;
        Ok(())
    }

    async fn run(&self, client: &Client) -> Self::Answer {
        client.change(&format!("DROP TABLE \"{}\"", self.ledger.table())).await
    }

    fn record(&mut self, answer: &Self::Answer) -> TestResult<Outcome> {
        self.outcome = outcome_of(answer)?;
        Ok(self.outcome)
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    async fn found(&self, client: &Client) -> TestResult<BTreeSet<i64>> {
        if !exists_as_answered(client, &self.ledger, self.outcome, false).await? {
            return Ok(BTreeSet::new());
        }
        // Whole, or not at all.
        self.ledger.check(client).await?;
        Ok((self.outcome == Outcome::Unknown).then_some(0).into_iter().collect())
    }

    async fn carries_on(&mut self, client: &Client, works: bool) -> TestResult {
        let there = exists_as_answered(client, &self.ledger, self.outcome, false).await?;
        if there && works {
            carry_on(&mut self.ledger, client, works).await?;
        }
        Ok(())
    }

    async fn settles(&mut self, client: &Client) -> TestResult {
        let there = exists_as_answered(client, &self.ledger, self.outcome, false).await?;
        if there {
            // Whole, or not at all.
            settle(&mut self.ledger, client).await?;
        }
        match self.run(client).await {
            Ok(_) if there => {}
            Err(AppendError::Refused { code: Code::NotFound, .. }) if !there => {}
            other => return Err(format!("there: {there}, dropping again: {other:?}").into()),
        }
        // The name is free, and nothing of the old table comes back with it. What is there now is as after a refused drop.
        self.outcome = Outcome::Refused(Code::NotFound);
        self.ledger = Ledger::new(self.ledger.table(), Size::SMALL);
        self.ledger.create(client).await?;
        settle(&mut self.ledger, client).await
    }
}

/// Whether there is such a table; an error when the outcome says otherwise. `committed` is what a committed change leads to.
async fn exists_as_answered(
    client: &Client,
    ledger: &Ledger,
    outcome: Outcome,
    committed: bool,
) -> TestResult<bool> {
    let sql =
        format!("SELECT 1 FROM information_schema.tables WHERE table_name = '{}'", ledger.table());
    let there = client.sql(&sql).await?.iter().any(|batch| batch.num_rows() > 0);
    let expected = match outcome {
        Outcome::Committed => committed,
        Outcome::Refused(_) => !committed,
        Outcome::Unknown => there,
    };
    if there == expected {
        Ok(there)
    } else {
        Err(format!("outcome {outcome:?}, but the table is there: {there}").into())
    }
}
