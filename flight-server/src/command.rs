//! Bytes to typed requests: Flight descriptors, Flight SQL commands, our append command. Pure.
