//! The map of merger.

pub mod exposition;

pub mod merge;

pub mod identity;

pub mod target;

pub mod netns;

pub mod pods;

pub mod listeners;

pub mod node;
