//! Faulty and recording stores for tests.
