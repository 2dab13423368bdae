//! The name of an image: registry, path and tag, all three said.
//!
//! A runtime fills in what is left out, and takes `merger` for `docker.io/library/merger:latest`, which is
//! somebody else's.
//! Source: <https://github.com/distribution/reference/blob/v0.6.0/reference.go>, the grammar.

use std::{fmt, str::FromStr};

/// A name that a runtime takes as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(String);

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Tag,
    Registry,
    Path,
}

// === impl Name ===

impl Default for Name {
    /// The one that `deploy/base` asks for. No runtime looks for it elsewhere.
    fn default() -> Self {
        Self(format!("localhost/merger:{}", env!("CARGO_PKG_VERSION")))
    }
}

impl FromStr for Name {
    type Err = Wrong;

    fn from_str(name: &str) -> Result<Self, Wrong> {
        let (path, tag) = name.rsplit_once(':').ok_or(Wrong::Tag)?;
        let in_tag = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let begins = tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if !begins || tag.len() > 128 || !tag.chars().all(in_tag) {
            return Err(Wrong::Tag);
        }
        let (registry, path) = path.split_once('/').ok_or(Wrong::Registry)?;
        if registry != "localhost" && !registry.contains(['.', ':']) {
            return Err(Wrong::Registry);
        }
        let in_host = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        let in_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c);
        let is_part = |part: &str| {
            let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            part.starts_with(ends) && part.ends_with(ends) && part.chars().all(in_part)
        };
        if !registry.chars().all(in_host) || !path.split('/').all(is_part) {
            return Err(Wrong::Path);
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Wrong ===

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tag => "it has no tag, as in localhost/merger:0.1.0",
            Self::Registry => {
                "it names no registry, and a runtime would take docker.io for it: \
                 begin with one, as in registry.example/merger:0.1.0, or with localhost/"
            }
            Self::Path => "a name has small letters, digits, and between them `.`, `_` and `-`",
        })
    }
}

impl std::error::Error for Wrong {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Result<(), Wrong>) {
        let parsed: Result<Name, Wrong> = name.parse();
        assert_eq!(parsed, expected.map(|()| Name(name.to_owned())));
    }

    #[test]
    fn a_name_has_a_registry_and_a_tag() {
        check("localhost/merger:0.1.0", Ok(()));
        check("registry.example:5000/team/merger:main_1", Ok(()));
        check("localhost/merger", Err(Wrong::Tag));
        check("localhost:5000/merger", Err(Wrong::Tag));
        check("merger:0.1.0", Err(Wrong::Registry));
        check("library/merger:0.1.0", Err(Wrong::Registry));
    }

    #[test]
    fn what_a_runtime_would_refuse_is_refused_here() {
        check("localhost/Merger:1", Err(Wrong::Path));
        check("localhost/-merger:1", Err(Wrong::Path));
        check("localhost//merger:1", Err(Wrong::Path));
        check("localhost/merger:", Err(Wrong::Tag));
        check("localhost/merger:-1", Err(Wrong::Tag));
        check("localhost/merger:a b", Err(Wrong::Tag));
    }

    #[test]
    fn the_name_by_default_is_one() {
        let name = Name::default();
        assert_eq!(name.to_string().parse(), Ok(name));
    }
}
