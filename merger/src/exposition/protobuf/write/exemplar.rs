//! An exemplar as `OpenMetrics` spells it behind `# `, to a message.

use crate::exposition::{
    Exemplar, Label,
    point::value,
    protobuf::{
        schema::{EXEMPLAR_LABEL, EXEMPLAR_TIMESTAMP, EXEMPLAR_VALUE, LABEL_NAME, LABEL_VALUE},
        timestamp::Timestamp,
        wire,
        write::plain,
    },
};

/// An exemplar with its numbers as such.
struct Numbers<'a> {
    exemplar: Exemplar<'a>,
    value: f64,
    timestamp: Option<Timestamp>,
}

/// Whether a message can say it: its time may be beyond the last year of a `Timestamp`.
#[must_use]
pub fn takes_exemplar(text: &[u8]) -> bool {
    Numbers::read(text).is_some()
}

/// Writes it as a field. What [`takes_exemplar`] does not take is left out.
pub(super) fn push(out: &mut Vec<u8>, field: u32, text: &[u8]) {
    let Some(Numbers { exemplar, value, timestamp }) = Numbers::read(text) else { return };
    wire::push_message(out, field, |out| {
        for Label { name, value, .. } in exemplar.labels() {
            wire::push_message(out, EXEMPLAR_LABEL, |out| {
                wire::push_bytes(out, LABEL_NAME, &plain(name));
                wire::push_bytes(out, LABEL_VALUE, &plain(value));
            });
        }
        wire::push_double(out, EXEMPLAR_VALUE, value);
        if let Some(timestamp) = timestamp {
            wire::push_message(out, EXEMPLAR_TIMESTAMP, |out| timestamp.push(out));
        }
    });
}

// === impl Numbers ===

impl<'a> Numbers<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        let exemplar = Exemplar::read(text)?;
        let value = value::float(exemplar.value)?;
        let timestamp = match exemplar.timestamp {
            Some(seconds) => Some(Timestamp::from_seconds(seconds)?),
            None => None,
        };
        Some(Self { exemplar, value, timestamp })
    }
}
