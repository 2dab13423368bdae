//! The spelling of names and label sets: what is no identifier stands in quotes, a metric name then
//! among the labels.

use std::ops::Range;

use crate::exposition::{Label, labels, openmetrics::bound};

/// The series of one point: they share a base and labels.
#[derive(Debug)]
pub(super) struct Series<'a> {
    base: &'a [u8],
    is_quoted: bool,
    labels: &'a [Label<'a>],
    /// Where the labels stand in the page, once they were written.
    written: Option<Range<usize>>,
}

/// The label that a sample has beside those of its point.
#[derive(Clone, Copy, Debug)]
pub(super) enum Extra<'a> {
    Nothing,
    /// A number under this name.
    Bound(&'static str, &'a [u8]),
    /// A state under the name of its family.
    State(&'a [u8], &'a [u8]),
}

/// Writes the beginning of a line of metadata, up to the blank behind the name.
pub(super) fn push_metadata(out: &mut Vec<u8>, keyword: &str, base: &[u8]) {
    out.extend_from_slice(b"# ");
    out.extend_from_slice(keyword.as_bytes());
    out.push(b' ');
    push_name(out, base, labels::is_metric_name(base));
    out.push(b' ');
}

// === impl Series ===

impl<'a> Series<'a> {
    pub(super) fn new(base: &'a [u8], labels: &'a [Label<'a>]) -> Self {
        Self { base, is_quoted: !labels::is_metric_name(base), labels, written: None }
    }

    /// Writes name and labels of one series of the point. All go to the same page.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, suffix: &str, extra: Extra<'_>) {
        let has_labels = !self.labels.is_empty();
        let has_extra = !matches!(extra, Extra::Nothing);
        if self.is_quoted {
            out.extend_from_slice(b"{\"");
        }
        out.extend_from_slice(self.base);
        out.extend_from_slice(suffix.as_bytes());
        if self.is_quoted {
            out.push(b'"');
        }
        if has_labels {
            out.push(if self.is_quoted { b',' } else { b'{' });
            self.push_labels(out);
        }
        if has_extra {
            out.push(if self.is_quoted || has_labels { b',' } else { b'{' });
            push_extra(out, extra);
        }
        if self.is_quoted || has_labels || has_extra {
            out.push(b'}');
        }
    }

    /// Writes the labels of the point: spelled out once, and copied from then on.
    fn push_labels(&mut self, out: &mut Vec<u8>) {
        if let Some(written) = &self.written {
            return out.extend_from_within(written.clone());
        }
        let start = out.len();
        for (position, Label { name, value, .. }) in self.labels.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            push_label(out, name, value);
        }
        self.written = Some(start..out.len());
    }
}

fn push_extra(out: &mut Vec<u8>, extra: Extra<'_>) {
    match extra {
        Extra::Nothing => {}
        Extra::State(name, state) => push_label(out, name, state),
        Extra::Bound(name, number) => {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"=\"");
            bound::push(out, number);
            out.push(b'"');
        }
    }
}

fn push_label(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    push_name(out, name, labels::is_name(name));
    out.extend_from_slice(b"=\"");
    out.extend_from_slice(value);
    out.push(b'"');
}

fn push_name(out: &mut Vec<u8>, name: &[u8], is_plain: bool) {
    if is_plain {
        return out.extend_from_slice(name);
    }
    out.push(b'"');
    out.extend_from_slice(name);
    out.push(b'"');
}
