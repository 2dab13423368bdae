//! The map of merger.
pub mod identity;
pub mod target;
