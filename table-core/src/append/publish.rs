//! The commit loop: re-check against the newest snapshot, publish record N+1 if absent, replay a rival's record and retry.
