//! [`Guard`]: checks that a test of the tests can take away, to see that their absence is noticed. A server that is not built
//! for tests has them all.

/// A check that the promises rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// A record that is found in its slot is recognised by its attempt id (C5).
    SelfRecognition,
    /// A record whose outcome is unknown is not acknowledged (C1, C2).
    KnownOutcome,
    /// An append is held against the coverage again when it is committed (C6).
    OverlapAtCommit,
    /// The append id of a commit is looked up before anything else (C4).
    AppendIds,
    /// A read looks for what others committed (C7).
    FreshReads,
    /// A state is shown to nobody before its record is durable (C1).
    DurableBeforeVisible,
    /// A state is visible before anybody is told that his commit is in it (C7).
    VisibleBeforeAnswered,
    /// The newest state never becomes an older one, whoever comes with it (C7).
    NeverBack,
    /// A commit goes on when its caller does not (C16).
    DetachedCommits,
    /// Several tables are shown as they were at one moment (C7).
    OneMoment,
    /// Whoever finds a record being published waits for the end of it, since his own commit may not be part of it.
    EveryTurn,
}

#[cfg(any(test, feature = "testing"))]
mod switch {
    use std::cell::Cell;

    use super::Guard;

    thread_local! {
        static MISSING: Cell<Option<Guard>> = const { Cell::new(None) };
    }

    /// Puts a guard back when it is dropped.
    #[derive(Debug)]
    pub struct Missing(());

    impl Guard {
        /// Takes the guard away from everything that runs on this thread.
        #[must_use = "it is back once this is dropped"]
        pub fn take_away(self) -> Missing {
            MISSING.set(Some(self));
            Missing(())
        }

        pub(crate) fn stands(self) -> bool {
            MISSING.get() != Some(self)
        }
    }

    impl Drop for Missing {
        fn drop(&mut self) {
            MISSING.set(None);
        }
    }
}

#[cfg(any(test, feature = "testing"))]
pub use switch::Missing;

#[cfg(not(any(test, feature = "testing")))]
impl Guard {
    pub(crate) const fn stands(self) -> bool {
        true
    }
}
