//! A long page in pieces: a fuzzer tries a short input a hundred times while it tries a long one once.

/// How long a piece is, about; and how many there are of one page at most.
const LENGTH: usize = 1024;
const MOST: usize = 40;

/// Some pieces of a page, each of whole families or of whole messages.
pub(super) fn of(body: &[u8], is_protobuf: bool) -> Vec<Vec<u8>> {
    cut(body, &if is_protobuf { messages(body) } else { families(body) })
}

/// Each from a start to one that follows.
fn cut(body: &[u8], starts: &[usize]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for (at, end) in starts.iter().zip(starts.iter().skip(1).chain([&body.len()])) {
        if end - from > LENGTH && *at > from {
            pieces.push(body[from..*at].to_vec());
            from = *at;
        }
    }
    pieces.push(body[from..].to_vec());
    let step = pieces.len().div_ceil(MOST);
    pieces.into_iter().step_by(step).filter(|piece| piece.len() <= 4 * LENGTH).collect()
}

/// Where families begin.
fn families(body: &[u8]) -> Vec<usize> {
    let lines = body.split_inclusive(|b| *b == b'\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    });
    let starts_family = |line: &[u8]| line.starts_with(b"# TYPE") || line.starts_with(b"# HELP");
    lines.filter(|(_, line)| starts_family(line)).map(|(start, _)| start).collect()
}

/// Where messages begin: each stands behind its length, a varint.
fn messages(body: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at < body.len() {
        starts.push(at);
        let digits = body[at..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
        let digit = |length: usize, byte: &u8| length << 7 | usize::from(byte & 0x7f);
        let length = body[at..].iter().take(digits).rev().fold(0, digit);
        at = at.saturating_add(digits).saturating_add(length);
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &[usize], expected: &[usize]) {
        assert_eq!(found, expected);
    }

    #[test]
    fn families_begin_at_their_headers() {
        check(&families(b"# HELP a\n# TYPE a counter\na 1\n# TYPE b gauge\nb 1"), &[0, 9, 30]);
    }

    #[test]
    fn messages_begin_behind_the_ones_before() {
        let long = [&[0x81, 0x01][..], &[7; 129], &[2, 7, 7]].concat();
        check(&messages(&long), &[0, 131]);
        check(&messages(b"\xff\xff"), &[0]);
    }

    #[test]
    fn pieces_are_whole_and_one_that_is_too_long_is_none() {
        let body = [vec![1; 600], vec![2; 600], vec![3; 5000]].concat();
        assert_eq!(cut(&body, &[0, 600, 1200]), [vec![1; 600], vec![2; 600]]);
    }
}
