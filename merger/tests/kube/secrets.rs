//! The Secrets that pods name: which are asked for, how often, and what becomes of what was read.

use std::sync::Arc;

use merger::{
    pods::kube::List,
    target::secret::{Fault, Hidden, Identity, Secret, SecretRef, Unread},
};
use serde_json::{Value, json};

use crate::{
    double::{Answer, Double, Play, Step, on},
    recordings::{bookmark, event, list, pod, status},
    requests::{LIST, watch},
    world::World,
};

/// What no line of the log may have, and its base64.
const MARK: &str = "hunter2";
const MARK_64: &str = "aHVudGVyMg==";

/// A pod that names Secrets.
fn naming(name: &str, namespace: &str, annotations: Value) -> Value {
    let mut pod = pod(name, name, 7, "Running");
    pod["metadata"]["namespace"] = namespace.into();
    pod["metadata"]["annotations"] = annotations;
    pod
}

/// The pod `shop/a`, which names `metrics`.
fn one() -> Value {
    naming("a", "shop", json!({"merger.io/secret": "metrics"}))
}

fn get(name: &str) -> String {
    format!("GET /api/v1/namespaces/shop/secrets/{name} ")
}

fn token(base64: &str) -> String {
    let data = json!({"token": base64, "tls.key": MARK_64});
    json!({"kind": "Secret", "apiVersion": "v1", "data": data, "type": "Opaque"}).to_string()
}

/// Bookmarks, so that the watch of the pods goes on.
fn alive() -> Vec<Play> {
    (0..30).flat_map(|n| [Play::seconds(60), bookmark(9 + n)]).collect()
}

/// A list of these pods and a watch without an event but bookmarks, then this.
fn script(pods: &[Value], then: Vec<Step>) -> Vec<Step> {
    let first = [on(LIST, Answer::ok(list(8, pods))), on(&watch(8), Answer::plays(alive()))];
    first.into_iter().chain(then).collect()
}

async fn start(script: Vec<Step>) -> World {
    let double = Double::start(script).await;
    let cluster = format!("server: 'http://{}'", double.address);
    World::with_secrets(double, List::Pages, &cluster, "{}", &["shop"])
}

fn name(name: &str) -> SecretRef {
    SecretRef { namespace: "shop".to_owned(), name: name.to_owned() }
}

fn bearer(token: &str) -> Secret {
    let identity = Identity::Bearer(Hidden(token.as_bytes().to_vec()));
    Secret { identity: Some(identity), ca: None, stale: None }
}

#[track_caller]
fn check(world: &World, expected: &[(&str, Result<Secret, Unread>)]) {
    let expected = expected.iter().map(|(secret, read)| (name(secret), read.clone())).collect();
    assert_eq!(*world.known().secrets, expected);
    for line in world.log() {
        assert!(!line.contains(MARK) && !line.contains(MARK_64), "{line}");
    }
    let shown = format!("{:?}", world.known());
    assert!(!shown.contains(MARK) && !shown.contains(MARK_64), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn only_what_is_named_where_it_may_be_named_is_asked_for() {
    let pods = [
        one(),
        naming("b", "shop", json!({"merger.io/secret": "metrics", "c.merger.io/secret": "login"})),
        naming("c", "shop", json!({"merger.io/secret": "../../../pods"})),
        naming("d", "web", json!({"merger.io/secret": "metrics"})),
        naming("e", "shop", json!({"prometheus.io/scrape": "true"})),
    ];
    let login = json!({"data": {"username": "bWU=", "password": MARK_64}}).to_string();
    let then =
        vec![on(&get("login"), Answer::ok(login)), on(&get("metrics"), Answer::ok(token(MARK_64)))];
    let world = start(script(&pods, then)).await;
    world.pass(200).await;
    world.double.check();
    let basic = Identity::Basic(Hidden(b"me:hunter2".to_vec()));
    let login = Ok(Secret { identity: Some(basic), ca: None, stale: None });
    check(&world, &[("login", login), ("metrics", Ok(bearer(MARK)))]);
    world.check_published(&[&["shop/a a", "shop/b b", "shop/c c", "shop/e e", "web/d d"]]);
    world.check_log(&[
        "INFO pods are known n_pods=5 n_skipped=0",
        "INFO a Secret is read secret=shop/login",
        "INFO a Secret is read secret=shop/metrics",
    ]);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_rotated_is_known_within_five_minutes() {
    // A token of base64 "b25l" and "dHdv".
    let then = vec![
        on(&get("metrics"), Answer::ok(token("b25l"))),
        on(&get("metrics"), Answer::ok(token("b25l"))),
        on(&get("metrics"), Answer::ok(token("dHdv"))),
    ];
    let world = start(script(&[one()], then)).await;
    world.pass(1).await;
    check(&world, &[("metrics", Ok(bearer("one")))]);
    let before = world.known();
    world.pass(305).await;
    assert!(Arc::ptr_eq(&before, &world.known()), "what is as it was is not published");
    world.pass(300).await;
    check(&world, &[("metrics", Ok(bearer("two")))]);
    world.double.check();
}

#[tokio::test(start_paused = true)]
async fn one_that_is_refused_is_told_of_once_and_read_when_it_is_there() {
    let refused = |code, reason| Answer::status(code, status(code, reason, MARK));
    let then = vec![
        on(&get("metrics"), refused(404, "NotFound")),
        on(&get("metrics"), refused(403, "Forbidden")),
        on(&get("metrics"), refused(403, "Forbidden")),
        on(&get("metrics"), refused(410, "Gone")),
        on(&get("metrics"), Answer::ok(token("aHVudGVyMgo="))),
    ];
    let world = start(script(&[one()], then)).await;
    world.pass(1).await;
    check(&world, &[("metrics", Err(Unread::MissingOnce))]);
    world.pass(15).await;
    check(&world, &[("metrics", Err(Unread::Forbidden))]);
    world.pass(90).await;
    check(&world, &[("metrics", Err(Unread::Status(410)))]);
    world.pass(120).await;
    check(&world, &[("metrics", Err(Unread::Unusable(Fault::LineBreak)))]);
    world.double.check();
    let log = world.log();
    let [_, missing, forbidden, status, useless] = log.as_slice() else { panic!("{log:#?}") };
    for (line, said) in [
        (missing, "a Secret is not read: the API server knows none of that name"),
        (forbidden, "a Secret is not read: the account of merger may not read it: grant it"),
        (status, "a Secret is not read: the API server answers with HTTP status 410"),
        (useless, "a Secret is of no use: its token has a line break in it"),
    ] {
        assert!(line.starts_with(&format!("WARN {said}")), "{line}");
        assert!(line.ends_with("secret=shop/metrics"), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_stays_while_it_is_refused_and_goes_with_the_last_pod_that_names_it() {
    let gone = event("DELETED", &one());
    let script = vec![
        on(LIST, Answer::ok(list(8, &[one()]))),
        on(&watch(8), Answer::plays([Play::seconds(140), gone, Play::Stay])),
        on(&get("metrics"), Answer::ok(token(MARK_64))),
    ];
    let world = start(script).await;
    world.pass(100).await;
    check(&world, &[("metrics", Ok(bearer(MARK)))]);
    world.pass(50).await;
    check(&world, &[]);
    world.pass(100).await;
    world.double.check();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_give_it_out_changes_nothing() {
    let mut then = vec![on(&get("metrics"), Answer::ok(token(MARK_64)))];
    for code in [500, 503, 429, 401, 403, 404] {
        then.push(on(&get("metrics"), Answer::status(code, "")));
    }
    // It resets, is no JSON, and says too much.
    then.push(on(&get("metrics"), Answer::plays([Play::text("{\"data\""), Play::Reset])));
    let many = std::iter::repeat_n(vec![b' '; 1 << 20].into(), 5);
    then.push(on(&get("metrics"), Answer::plays([Play::Many(Box::new(many))])));
    let world = start(script(&[one()], then)).await;
    world.pass(235).await;
    let mut said = Vec::new();
    for _ in 0..100 {
        if world.double.is_done() {
            break;
        }
        world.pass(5).await;
        let stale = world.known().secrets[&name("metrics")].as_ref().unwrap().stale;
        check(&world, &[("metrics", Ok(Secret { stale, ..bearer(MARK) }))]);
        said.extend(stale);
    }
    world.double.check();
    said.dedup();
    for why in [Unread::Status(500), Unread::Status(503), Unread::Forbidden, Unread::Missing] {
        assert!(said.contains(&why), "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_the_server_cannot_decrypt_holds_up_no_other_and_the_log_says_so() {
    let broken = naming("b", "shop", json!({"merger.io/secret": "broken"}));
    let cannot = || Answer::status(500, status(500, "InternalError", MARK));
    let then = vec![
        on(&get("broken"), cannot()),
        on(&get("metrics"), Answer::ok(token(MARK_64))),
        on(&get("broken"), cannot()),
        on(&get("broken"), Answer::ok(token(MARK_64))),
    ];
    let world = start(script(&[one(), broken], then)).await;
    world.pass(1).await;
    check(&world, &[("broken", Err(Unread::Status(500))), ("metrics", Ok(bearer(MARK)))]);
    world.pass(45).await;
    check(&world, &[("broken", Ok(bearer(MARK))), ("metrics", Ok(bearer(MARK)))]);
    world.double.check();
    world.check_log(&[
        "INFO pods are known n_pods=2 n_skipped=0",
        "WARN a Secret is not read: the API server answers with HTTP status 500 where it is asked for it \
         secret=shop/broken",
        "INFO a Secret is read secret=shop/metrics",
        "INFO a Secret is read secret=shop/broken",
    ]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_for_secrets_is_told_of_once_and_so_is_its_return() {
    let then = vec![
        on(&get("metrics"), Answer::status(429, status(429, "TooManyRequests", MARK))),
        on(&get("metrics"), Answer::status(429, status(429, "TooManyRequests", MARK))),
        on(&get("metrics"), Answer::status(401, status(401, "Unauthorized", MARK))),
        on(&get("metrics"), Answer::plays([Play::Reset])),
        on(&get("metrics"), Answer::ok(token(MARK_64))),
    ];
    let world = start(script(&[one()], then)).await;
    world.pass(30).await;
    check(&world, &[("metrics", Ok(bearer(MARK)))]);
    world.double.check();
    let log = world.log();
    let [_, busy, unknown, away, back, read] = log.as_slice() else { panic!("{log:#?}") };
    assert_eq!(
        busy,
        "WARN the API server does not answer for Secrets; those that are known stay \
         why=\"HTTP status 429 Too Many Requests\""
    );
    assert!(unknown.starts_with("WARN the API server does not know this token"), "{unknown}");
    assert!(unknown.ends_with("why=\"HTTP status 401 Unauthorized\""), "{unknown}");
    let away_why = away.split_once("those that are known stay why=");
    assert!(away_why.is_some_and(|(_, why)| why.len() > 4), "{away}");
    assert!(back.starts_with("INFO the API server answers for Secrets again seconds="), "{back}");
    assert_eq!(read, "INFO a Secret is read secret=shop/metrics");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_deleted_is_forgotten_when_it_is_said_twice() {
    let missing = || Answer::status(404, status(404, "NotFound", MARK));
    let then = vec![
        on(&get("metrics"), Answer::ok(token(MARK_64))),
        on(&get("metrics"), missing()),
        on(&get("metrics"), missing()),
    ];
    let world = start(script(&[one()], then)).await;
    world.pass(1).await;
    check(&world, &[("metrics", Ok(bearer(MARK)))]);
    world.pass(240).await;
    while !world.double.is_done() {
        let known = world.known();
        let known = known.secrets[&name("metrics")].as_ref();
        assert_eq!(known.map(|known| &known.identity), Ok(&bearer(MARK).identity));
        world.pass(1).await;
    }
    world.pass(1).await;
    check(&world, &[("metrics", Err(Unread::Missing))]);
    let log = world.log();
    let [_, read, refused, forgotten] = log.as_slice() else { panic!("{log:#?}") };
    assert_eq!(read, "INFO a Secret is read secret=shop/metrics");
    assert!(
        refused.starts_with("WARN a Secret is not read: the API server knows none"),
        "{refused}"
    );
    let expected =
        "WARN what was read of a Secret is forgotten: the API server knows none of that name";
    assert!(forgotten.starts_with(expected), "{forgotten}");
}

#[tokio::test(start_paused = true)]
async fn the_first_pods_wait_for_what_they_name_and_not_for_ever() {
    let slowly = Answer::plays([Play::seconds(3), Play::text(token(MARK_64))]);
    let world = start(script(&[one()], vec![on(&get("metrics"), slowly)])).await;
    world.pass(2).await;
    assert!(world.reader.borrow().is_none(), "an agent that had both is not to lose one");
    world.pass(2).await;
    check(&world, &[("metrics", Ok(bearer(MARK)))]);

    let never = Answer::plays([Play::Stay]);
    let again = on(&get("metrics"), Answer::ok(token(MARK_64)));
    let world = start(script(&[one()], vec![on(&get("metrics"), never), again])).await;
    world.pass(6).await;
    check(&world, &[("metrics", Err(Unread::NotYet))]);
    world.pass(60).await;
    check(&world, &[("metrics", Ok(bearer(MARK)))]);
    world.double.check();
}

#[tokio::test(start_paused = true)]
async fn pods_come_and_go_while_one_is_asked_for() {
    let never = Answer::plays([Play::Stay]);
    let added = event("ADDED", &pod("b", "b", 9, "Running"));
    let script = vec![
        on(LIST, Answer::ok(list(8, &[one()]))),
        on(&watch(8), Answer::plays([Play::seconds(10), added, Play::Stay])),
        on(&get("metrics"), never),
    ];
    let world = start(script).await;
    world.pass(15).await;
    world.double.check();
    world.check_published(&[&["shop/a a"], &["shop/a a", "shop/b b"]]);
}
