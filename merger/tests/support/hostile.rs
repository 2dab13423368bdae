//! What a hostile pod may say, as a table that several tests read: `testdata/hostile`.

/// Whose name such a pod would like to bear.
#[allow(dead_code, reason = "not every program of tests needs it")]
pub(crate) const OTHER: &str = "0f0f0f0f-0000-4000-8000-0f0f0f0f0f0f";

/// Names of cgroups below a pod's own, each of one component or of several.
#[allow(dead_code, reason = "not every program of tests needs it")]
pub(crate) fn cgroups() -> Vec<Vec<u8>> {
    let id = "0123456789abcdef".repeat(4);
    let listed = include_str!("../../testdata/hostile/cgroups.txt").lines().map(|name| {
        let other = name.replace("OTHER_", &OTHER.replace('-', "_")).replace("OTHER", OTHER);
        unescape(&other.replace("ID", &id))
    });
    // One component has at most 255 bytes; of a path no kernel tells more than 4095.
    let longest = [
        vec![b'k'; 255],
        b"kubepods/".repeat(300),
        [b"\\".repeat(255), vec![b'/']].concat().repeat(18),
    ];
    listed.chain(longest).collect()
}

/// What a pod may write in its annotations after `prometheus.io/`: whether it is refused, the name, and
/// the value.
#[allow(dead_code, reason = "not every program of tests needs it")]
pub(crate) fn annotations() -> Vec<(bool, &'static str, String)> {
    let listed = include_str!("../../testdata/hostile/annotations.txt").lines().map(|line| {
        let (verdict, annotation) = line.split_once(' ').expect("a verdict and an annotation");
        let (name, value) = annotation.split_once(": ").expect("a name and a value");
        let value = String::from_utf8(unescape(value)).expect("an annotation is text");
        (verdict == "refused", name, value)
    });
    listed.collect()
}

/// Reads `\xff` as that byte.
fn unescape(text: &str) -> Vec<u8> {
    let mut pieces = text.split("\\x");
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}
