//! The placeholder provider.
