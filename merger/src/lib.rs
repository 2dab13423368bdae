//! The map of merger.

pub mod exposition;

pub mod merge;

pub mod identity;

pub mod target;

pub mod pods;
