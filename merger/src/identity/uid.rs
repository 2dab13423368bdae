//! The uid of a pod as a value of one size, for messages that hold nothing of another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The most bytes of a uid: one of the API server has 36, one of a static pod 32.
const LONGEST: usize = 64;

/// A pod's uid, as its cgroup names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodUid {
    /// Filled up with zeros; in two halves because that is how long an array serde knows.
    halves: [[u8; LONGEST / 2]; 2],
}

/// The text is no uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pod's uid has 1 to 64 letters, digits and dashes")]
pub struct NoUid;

// === impl PodUid ===

impl PodUid {
    /// The uid as text; empty where it came by a message and is none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.halves.as_flattened();
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(LONGEST);
        str::from_utf8(&bytes[..end]).unwrap_or_default()
    }
}

impl FromStr for PodUid {
    type Err = NoUid;

    fn from_str(text: &str) -> Result<Self, NoUid> {
        let is_one = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !(1..=LONGEST).contains(&text.len()) || !text.bytes().all(is_one) {
            return Err(NoUid);
        }
        let mut halves = [[0; LONGEST / 2]; 2];
        halves.as_flattened_mut()[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { halves })
    }
}

impl fmt::Debug for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_the_text_that_it_was_read_from() {
        for text in ["a", "6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d81", &"f".repeat(LONGEST)] {
            assert_eq!(text.parse::<PodUid>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_no_cgroup_can_name_is_none() {
        for text in ["", "a b", "a_b", "a/b", "\0", "é", &"f".repeat(LONGEST + 1)] {
            assert_eq!(text.parse::<PodUid>(), Err(NoUid), "{text}");
        }
    }
}
