//! Which Secrets are asked for, and how long what was read of them stays.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::target::{
    Container, Pod, PodRef,
    monitor::Monitored,
    secret::{Fault, Hidden, Identity, Secret, Unread},
};

fn secret(namespace: &str, name: &str) -> SecretRef {
    SecretRef { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn pod(namespace: &str, name: &str, annotations: &[(&str, &str)]) -> Arc<Pod> {
    let annotations =
        annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Arc::new(Pod {
        name: PodRef { namespace: namespace.to_owned(), name: name.to_owned() },
        uid: format!("{namespace}-{name}"),
        node: None,
        annotations: annotations.collect::<BTreeMap<_, _>>(),
        containers: vec![Container { name: "app".to_owned(), ..Container::default() }],
        monitored: Monitored::default(),
        ended: false,
    })
}

fn known(pods: Vec<Arc<Pod>>) -> Known {
    Known { pods, ..Known::default() }
}

fn shop() -> BTreeSet<String> {
    ["shop".to_owned()].into()
}

fn bearer(token: &str) -> Secret {
    let identity = Identity::Bearer(Hidden(token.as_bytes().to_vec()));
    Secret { identity: Some(identity), ca: None, stale: None }
}

#[test]
fn only_what_is_named_where_it_may_be_named_is_wanted() {
    let ended = Pod { ended: true, ..(*pod("shop", "e", &[("merger.io/secret", "e")])).clone() };
    let known = known(vec![
        pod("shop", "a", &[("merger.io/secret", "one"), ("app.merger.io/secret", "two")]),
        pod("shop", "b", &[("merger.io/secret", "one"), ("gone.merger.io/secret", "three")]),
        pod("shop", "c", &[("merger.io/secret", "../../kube-system/secrets/root")]),
        pod("shop", "d", &[("merger.io/endpoints", ":9100")]),
        pod("web", "a", &[("merger.io/secret", "four")]),
        Arc::new(ended),
    ]);
    assert_eq!(wanted(&known, &shop()), [secret("shop", "one"), secret("shop", "two")].into());
    assert_eq!(wanted(&known, &BTreeSet::new()), BTreeSet::new());
}

#[test]
fn a_namespace_that_names_too_many_costs_itself() {
    let greedy =
        (0..200).map(|n| pod("a", &n.to_string(), &[("merger.io/secret", &n.to_string())]));
    let known = known(greedy.chain([pod("b", "p", &[("merger.io/secret", "s")])]).collect());
    let wanted = wanted(&known, &["a".to_owned(), "b".to_owned()].into());
    assert_eq!(wanted.len(), MAX_OF_NAMESPACE + 1);
    assert!(wanted.contains(&secret("b", "s")));
}

#[test]
fn namespaces_that_name_too_many_leave_some_to_the_others() {
    let greedy = ["a", "b", "c", "d"];
    let name = |n: usize| format!("{n:03}");
    let greedy_pods = greedy.into_iter().flat_map(|namespace| {
        (0..200).map(move |n| pod(namespace, &name(n), &[("merger.io/secret", &name(n))]))
    });
    let modest = (0..3).map(|n| pod("e", &name(n), &[("merger.io/secret", &name(n))]));
    let known = known(greedy_pods.chain(modest).collect());
    let allowed = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
    let wanted = wanted(&known, &allowed);
    let n_of = |of: &str| wanted.iter().filter(|secret| secret.namespace == of).count();
    assert_eq!(wanted.len(), MAX_OF_NODE);
    // 125 are left to four of them.
    assert_eq!(["a", "b", "c", "d", "e"].map(n_of), [32, 31, 31, 31, 3]);
    assert!(wanted.contains(&secret("d", &name(0))), "the first ones by name are kept");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_stays_until_it_is_read_again_or_named_by_nobody() {
    let (one, two) = (secret("shop", "one"), secret("shop", "two"));
    let mut shelf = Shelf::default();
    shelf.keep(&[one.clone(), two.clone()].into());
    assert!(!shelf.is_complete());
    assert_eq!(shelf.secrets()[&one], Err(Unread::NotYet));
    assert!(shelf.read(&one, Ok(bearer("1"))));
    assert!(!shelf.read(&one, Ok(bearer("1"))), "it is as it was");
    assert_eq!(shelf.refused(&two, Unread::Forbidden), News::Refused);
    assert!(shelf.is_complete());
    assert_eq!(shelf.refused(&two, Unread::Forbidden), News::None, "it was told");
    assert_eq!(shelf.secrets()[&two], Err(Unread::Forbidden));
    // It stays while it is refused, and while nobody answers, and it is said why it may be old.
    assert_eq!(shelf.refused(&one, Unread::Forbidden), News::Refused);
    assert_eq!(shelf.secrets()[&one], Ok(bearer("1").unread_since(Unread::Forbidden)));
    shelf.away(&one, Unread::Away);
    assert_eq!(shelf.secrets()[&one], Ok(bearer("1").unread_since(Unread::Away)));
    assert!(shelf.read(&one, Ok(bearer("1"))), "it is not old any more");
    assert_eq!(shelf.secrets()[&one], Ok(bearer("1")));
    // One that is of no use takes its place.
    let fault = Unread::Unusable(Fault::LineBreak);
    assert!(shelf.read(&one, Err(fault)));
    assert_eq!(shelf.secrets()[&one], Err(fault));
    shelf.keep(&[two.clone()].into());
    assert_eq!(shelf.secrets().keys().collect::<Vec<_>>(), [&two]);
    assert!(!shelf.read(&one, Ok(bearer("1"))), "it came late");
    assert_eq!(shelf.secrets().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_said_twice_not_to_be_there_is_forgotten() {
    let one = secret("shop", "one");
    let mut shelf = Shelf::default();
    shelf.keep(&[one.clone()].into());
    let known = |shelf: &Shelf| shelf.secrets()[&one].clone();
    shelf.read(&one, Ok(bearer("1")));
    let old = Ok(bearer("1").unread_since(Unread::Missing));
    // Deleted, and made anew.
    assert_eq!(shelf.refused(&one, Unread::Missing), News::Refused);
    assert_eq!(known(&shelf), old);
    shelf.read(&one, Ok(bearer("1")));
    assert_eq!(shelf.refused(&one, Unread::Missing), News::Refused);
    assert_eq!(known(&shelf), old);
    // Another answer in between tells nothing of it.
    assert_eq!(shelf.refused(&one, Unread::Forbidden), News::Refused);
    assert_eq!(shelf.refused(&one, Unread::Missing), News::Refused);
    assert_eq!(known(&shelf), old);
    assert_eq!(shelf.refused(&one, Unread::Missing), News::Forgotten);
    assert_eq!(known(&shelf), Err(Unread::Missing));
    assert_eq!(shelf.refused(&one, Unread::Missing), News::None);
    assert!(shelf.read(&one, Ok(bearer("1"))));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_never_read_is_said_to_be_missing_once_before_it_is() {
    let one = secret("shop", "one");
    let mut shelf = Shelf::default();
    shelf.keep(&[one.clone()].into());
    for (why, expected, news) in [
        (Unread::Missing, Unread::MissingOnce, News::Refused),
        (Unread::Forbidden, Unread::Forbidden, News::Refused),
        (Unread::Missing, Unread::MissingOnce, News::Refused),
        (Unread::Missing, Unread::Missing, News::None),
        (Unread::Missing, Unread::Missing, News::None),
    ] {
        assert_eq!(shelf.refused(&one, why), news);
        assert_eq!(shelf.secrets()[&one], Err(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_read_again_by_and_by_and_asked_for_ever_less_where_it_is_refused() {
    let one = secret("shop", "one");
    let mut shelf = Shelf::default();
    shelf.keep(&[one.clone()].into());
    let wait = |shelf: &Shelf| shelf.next().unwrap().1 - Instant::now();
    assert_eq!(wait(&shelf), Duration::ZERO);
    for longest in [15, 30, 60, 120, 240, 300, 300] {
        shelf.refused(&one, Unread::Missing);
        let longest = Duration::from_secs(longest);
        assert!((longest / 2..=longest).contains(&wait(&shelf)), "{:?}", wait(&shelf));
    }
    shelf.read(&one, Ok(bearer("1")));
    assert!((Duration::from_mins(4)..=Duration::from_mins(5)).contains(&wait(&shelf)));
    shelf.refused(&one, Unread::Missing);
    assert!(wait(&shelf) <= Duration::from_secs(15), "it was given out in between");
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_given_out_lets_the_others_go_first() {
    let (one, two) = (secret("shop", "one"), secret("shop", "two"));
    let mut shelf = Shelf::default();
    shelf.keep(&[one.clone(), two.clone()].into());
    assert_eq!(shelf.next().unwrap().0, &one);
    tokio::time::advance(Duration::from_secs(1)).await;
    shelf.away(&one, Unread::Away);
    assert_eq!(shelf.next().unwrap().0, &two);
    assert_eq!(shelf.secrets()[&one], Err(Unread::Away));
}
