//! The map of merger.
pub mod identity;
pub mod pods;
pub mod target;
