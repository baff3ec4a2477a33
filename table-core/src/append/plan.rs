//! From what was staged to the actions of one commit. Pure.
