//! Tickets: self-contained bytes that any server on the root can redeem. Pure.
