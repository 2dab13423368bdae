//! What the merge is measured against: others who do less.

use std::{hint::black_box, time::SystemTime};

use prometheus_parse::Scrape;
use prost::Message as _;

#[path = "../../tests/support/messages.rs"]
#[allow(dead_code, reason = "only whole families are decoded here")]
mod messages;

use messages::MetricFamily;

/// prometheus-parse reads a page, and does nothing with it.
pub(crate) fn parse(page: &[u8]) {
    let page = std::str::from_utf8(page).expect("the page is text");
    let lines = page.lines().map(|line| Ok(line.to_owned()));
    let scrape = Scrape::parse_at(lines, SystemTime::UNIX_EPOCH.into());
    black_box(scrape.expect("it reads the page"));
}

/// The bytes, once more.
pub(crate) fn copy(pages: &[&[u8]]) {
    black_box(pages.concat());
}

/// prost reads each message, and writes it again.
pub(crate) fn recode(mut page: &[u8]) {
    let mut out = Vec::with_capacity(page.len());
    while !page.is_empty() {
        let family = MetricFamily::decode_length_delimited(&mut page).expect("it reads the page");
        family.encode_length_delimited(&mut out).expect("a vector takes all");
    }
    black_box(out);
}
