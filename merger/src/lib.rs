//! The metrics of meshed pods, read from inside their network namespaces, merged into one correct
//! exposition, and served from the node.
//!
//! The modules stand in the order of dependency: each uses only what stands before it. `cargo xtask
//! tidy` keeps it so.
//!
//! - Pure, bytes and values in and out: [`exposition`] and [`merge`] make one page of many;
//!   [`identity`] says which namespace is which pod's; [`target`] says what is read of a pod;
//!   [`tally`] counts, and [`cause`] tells errors.
//! - Edges, each knowing one outside thing: [`pods`] (who runs here), [`netns`] (namespaces of the
//!   kernel), [`listeners`] (who listens where), [`node`] (all that takes a right), [`lifecycle`]
//!   (the process).
//! - [`relay`] carries the pods from one process to another; [`scrape`] reads one source; [`inventory`]
//!   owns what is known and publishes the targets.
//! - [`serve`] answers over HTTP.
//! - [`config`], [`telemetry`], [`app`] and [`command`] make a program of it.

pub mod exposition;

pub mod merge;

pub mod identity;

pub mod target;

pub mod cause;

pub mod tally;

pub mod netns;

pub mod pods;

pub mod listeners;

pub mod node;

pub mod lifecycle;

pub mod relay;

pub mod scrape;

pub mod inventory;

pub mod serve;

pub mod config;

pub mod telemetry;

pub mod app;

pub mod command;

#[cfg(test)]
#[path = "../tests/support/hostile.rs"]
mod hostile;
