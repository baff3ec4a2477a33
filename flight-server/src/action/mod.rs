//! DoAction: one file per action.
