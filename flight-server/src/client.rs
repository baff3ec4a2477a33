//! The Flight client behind the command line and the demo.
