//! Which names belong to which family, by kind and suffix; and what two kinds are together.
//!
//! A reader of a page decides by name alone: expfmt takes `x_count` for a part of histogram `x`
//! wherever it stands, and rejects a page where `# TYPE x_count` follows (`setOrCreateCurrentMF`
//! in prometheus/common, `expfmt/text_parse.go`). So all samples of one name are in one family.

use crate::exposition::Kind;

/// What the declarations of one name come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Type {
    /// Nobody said anything.
    #[default]
    Absent,
    /// All who said something agree.
    Of(Kind),
    /// Two said truly different things.
    Lost,
}

/// The family of a name, where `type_of` says what the declarations of a name came to.
///
/// A name belongs to the family whose kind owns its suffix, if it has no kind of its own.
/// Where it has one, the two clash, and the caller takes the type from both before this is asked.
#[must_use]
pub fn of(name: &[u8], type_of: impl Fn(&[u8]) -> Type) -> &[u8] {
    match owner(name, &type_of) {
        Some(base) if !type_of(name).is_own() => base,
        _ => name,
    }
}

/// The family whose kind owns the suffix of `name`, whatever `name` is itself.
#[must_use]
pub fn owner(name: &[u8], type_of: impl Fn(&[u8]) -> Type) -> Option<&[u8]> {
    let owns = |suffix: &[u8], kinds: &[Kind]| {
        let base = name.strip_suffix(suffix).filter(|base| !base.is_empty())?;
        matches!(type_of(base), Type::Of(kind) if kinds.contains(&kind)).then_some(base)
    };
    match name.last()? {
        b't' => owns(b"_count", &[Kind::Histogram, Kind::Summary])
            .or_else(|| owns(b"_bucket", &[Kind::Histogram, Kind::GaugeHistogram]))
            .or_else(|| owns(b"_gcount", &[Kind::GaugeHistogram])),
        b'm' => owns(b"_sum", &[Kind::Histogram, Kind::Summary])
            .or_else(|| owns(b"_gsum", &[Kind::GaugeHistogram])),
        _ => None,
    }
}

// === impl Type ===

impl Type {
    /// What it is together with one more declaration.
    #[must_use]
    pub fn join(self, kind: Kind) -> Self {
        let is_open = |kind| matches!(kind, Kind::Untyped | Kind::Unknown);
        // Text and protobuf say gauge of what `OpenMetrics` calls an info or a state set.
        let is_gauge = |kind| matches!(kind, Kind::Gauge | Kind::Info | Kind::StateSet);
        match self {
            Self::Absent => Self::Of(kind),
            Self::Of(known) if known == kind || is_open(kind) => self,
            Self::Of(known) if is_open(known) => Self::Of(kind),
            Self::Of(known) if is_gauge(known) && is_gauge(kind) => Self::Of(Kind::Gauge),
            Self::Of(_) | Self::Lost => Self::Lost,
        }
    }

    /// Whether the name has a kind of its own. `untyped` says that none is known.
    #[must_use]
    pub fn is_own(self) -> bool {
        !matches!(self, Self::Absent | Self::Of(Kind::Untyped | Kind::Unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(types: &[(&str, Kind)], name: &str, expected: &str) {
        let type_of = |name: &[u8]| {
            let declared = types.iter().filter(|(declared, _)| declared.as_bytes() == name);
            declared.fold(Type::Absent, |known, (_, kind)| known.join(*kind))
        };
        assert_eq!(of(name.as_bytes(), type_of), expected.as_bytes());
    }

    #[test]
    fn a_histogram_owns_its_three_suffixes() {
        for name in ["x_bucket", "x_sum", "x_count", "x"] {
            check(&[("x", Kind::Histogram)], name, "x");
        }
        check(&[("x", Kind::Histogram)], "x_total", "x_total");
        check(&[("x", Kind::Histogram)], "xcount", "xcount");
    }

    #[test]
    fn a_summary_owns_no_buckets() {
        check(&[("x", Kind::Summary)], "x_sum", "x");
        check(&[("x", Kind::Summary)], "x_count", "x");
        check(&[("x", Kind::Summary)], "x_bucket", "x_bucket");
    }

    #[test]
    fn a_gauge_histogram_owns_suffixes_of_its_own() {
        for name in ["x_bucket", "x_gsum", "x_gcount"] {
            check(&[("x", Kind::GaugeHistogram)], name, "x");
        }
        check(&[("x", Kind::GaugeHistogram)], "x_sum", "x_sum");
        check(&[("x", Kind::Histogram)], "x_gsum", "x_gsum");
    }

    #[test]
    fn no_other_kind_owns_a_suffix() {
        for kind in [Kind::Counter, Kind::Gauge, Kind::Untyped, Kind::Info] {
            check(&[("x", kind)], "x_count", "x_count");
        }
        check(&[], "x_count", "x_count");
        check(&[("", Kind::Histogram)], "_count", "_count");
    }

    #[test]
    fn a_name_with_a_kind_of_its_own_is_its_own_family() {
        check(&[("x", Kind::Histogram), ("x_count", Kind::Gauge)], "x_count", "x_count");
        check(&[("x", Kind::Histogram), ("x_count", Kind::Untyped)], "x_count", "x");
    }

    #[test]
    fn a_family_that_lost_its_type_owns_nothing() {
        check(&[("x", Kind::Histogram), ("x", Kind::Gauge)], "x_count", "x_count");
    }

    #[test]
    fn open_kinds_join_in_any_order() {
        let joined = |kinds: &[Kind]| kinds.iter().fold(Type::Absent, |t, kind| t.join(*kind));
        assert_eq!(joined(&[Kind::Untyped, Kind::Gauge]), Type::Of(Kind::Gauge));
        assert_eq!(joined(&[Kind::Gauge, Kind::Unknown]), Type::Of(Kind::Gauge));
        assert_eq!(joined(&[Kind::Gauge, Kind::Counter, Kind::Gauge]), Type::Lost);
        assert_eq!(joined(&[Kind::Info, Kind::Gauge]), Type::Of(Kind::Gauge));
        assert_eq!(joined(&[Kind::Info, Kind::Info]), Type::Of(Kind::Info));
    }
}
