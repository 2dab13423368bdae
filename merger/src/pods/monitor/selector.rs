//! Which pods are selected by their labels.
//!
//! Source: `LabelSelector` in `staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/types.go`, and
//! `Requirement.Matches` in `pkg/labels/selector.go` beside it, of kubernetes/kubernetes.

use serde::Deserialize;

use super::{
    Labels,
    bounded::{Entries, Listed},
};

/// A selector with more requirements than this, of labels and of expressions each, is none.
const MAX_REQUIREMENTS: usize = 32;

/// One with more values is none.
const MAX_VALUES: usize = 64;

/// Why it cannot be followed. It is not cut: with less it would select more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A list is longer than anybody needs.
    #[error("its {0} is longer than is read: have it select by less, or make several of it")]
    Long(&'static str),
    /// An operator that there is not, or without the values that it takes.
    #[error(
        "a requirement of its selector is none: an operator is In or NotIn with values, or Exists or \
         DoesNotExist"
    )]
    Requirement,
}

/// What all labels together have to be; without requirements it selects every pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

/// As it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct LabelSelector {
    match_labels: Entries<String, MAX_REQUIREMENTS>,
    match_expressions: Listed<Expression, MAX_REQUIREMENTS>,
}

#[derive(Debug, Deserialize)]
struct Expression {
    key: String,
    operator: String,
    #[serde(default)]
    values: Listed<String, MAX_VALUES>,
}

// === impl Selector ===

impl Selector {
    pub(super) fn selects(&self, labels: &Labels) -> bool {
        self.0.iter().all(|Requirement { key, operator }| {
            let value = labels.get(key);
            match operator {
                Operator::In(values) => value.is_some_and(|value| values.contains(value)),
                Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }

    /// The bytes that it takes in memory.
    pub(super) fn n_bytes(&self) -> usize {
        let of = |Requirement { key, operator }: &Requirement| {
            let values = match operator {
                Operator::In(values) | Operator::NotIn(values) => values.as_slice(),
                Operator::Exists | Operator::DoesNotExist => &[],
            };
            let values: usize = values.iter().map(|v| size_of::<String>() + v.len()).sum();
            size_of::<Requirement>() + key.len() + values
        };
        self.0.iter().map(of).sum()
    }
}

impl TryFrom<LabelSelector> for Selector {
    type Error = Error;

    fn try_from(written: LabelSelector) -> Result<Self, Error> {
        let LabelSelector { match_labels, match_expressions } = written;
        if match_labels.left_out > 0 {
            return Err(Error::Long("matchLabels"));
        }
        if match_expressions.left_out > 0 {
            return Err(Error::Long("matchExpressions"));
        }
        let labels = match_labels.kept.into_iter();
        let labels =
            labels.map(|(key, value)| Ok(Requirement { key, operator: Operator::In(vec![value]) }));
        let expressions = match_expressions.kept.into_iter().map(Requirement::try_from);
        labels.chain(expressions).collect::<Result<_, _>>().map(Self)
    }
}

// === impl Requirement ===

impl TryFrom<Expression> for Requirement {
    type Error = Error;

    fn try_from(written: Expression) -> Result<Self, Error> {
        let Expression { key, operator, values: Listed { kept, left_out } } = written;
        if left_out > 0 {
            return Err(Error::Long("list of values"));
        }
        let operator = match (operator.as_str(), kept.is_empty()) {
            ("In", false) => Operator::In(kept),
            ("NotIn", false) => Operator::NotIn(kept),
            ("Exists", true) => Operator::Exists,
            ("DoesNotExist", true) => Operator::DoesNotExist,
            _ => return Err(Error::Requirement),
        };
        Ok(Self { key, operator })
    }
}
