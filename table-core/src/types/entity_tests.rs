//! see entity
