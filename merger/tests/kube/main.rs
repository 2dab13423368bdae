//! The pods of an API server that is a double: it asserts on requests, and plays what a real one said.
//!
//! Double and source are in one thread, whose clock is paused: it goes on when nobody has anything else
//! to do, so ten minutes take none.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "what was asked, and what it took, is the result")]

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/double.rs"]
mod double;
mod failures;
mod heap;
mod jobs;
mod lists;
mod memory;
mod monitors;
mod outage;
#[path = "../support/recordings.rs"]
mod recordings;
#[path = "../support/requests.rs"]
mod requests;
mod secrets;
mod static_pods;
mod tls;
mod world;
