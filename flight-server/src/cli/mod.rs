//! The command line: one file per command. Every command is a Flight client; with `--data-dir` it serves that folder to itself first.
