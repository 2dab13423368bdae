//! A server that shows a certificate and asks for a token, as every real one does.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
};

use merger::pods::kube::List;

use crate::{
    authority::Authority,
    double::{Answer, Double, Play, on},
    recordings::{event, list, pod, status},
    requests::{LIST, watch},
    world::World,
};

/// The double's.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test(start_paused = true)]
async fn a_token_that_was_rotated_is_read_again_when_the_old_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, token) = (dir.path().join("ca.crt"), dir.path().join("token"));
    let authority = Authority::new();
    fs::write(&ca, authority.pem()).unwrap();
    fs::write(&token, "one").unwrap();
    let as_one = |request: &str| format!("{request} as Bearer one");
    let as_two = |request: &str| format!("{request} as Bearer two");
    let unauthorized = status(401, "Unauthorized", "Unauthorized");
    let script = vec![
        on(&as_one(LIST), Answer::ok(list(8, &[pod("a", "1", 7, "Running")]))),
        on(&as_one(&watch(8)), Answer::plays([Play::seconds(20), Play::Reset])),
        on(&as_one(&watch(8)), Answer::status(401, unauthorized)),
        on(
            &as_two(&watch(8)),
            Answer::plays([event("ADDED", &pod("b", "2", 9, "Running")), Play::Stay]),
        ),
    ];
    let double = Double::start_with(script, Some(authority.server(ADDRESS))).await;
    let cluster =
        format!("server: 'https://{}', certificate-authority: {}", double.address, ca.display());
    let user = format!("{{tokenFile: {}}}", token.display());
    let world = World::with(double, List::Pages, &cluster, &user);
    world.pass(10).await;
    fs::write(&token, "two").unwrap();
    world.pass(60).await;
    world.double.check();
    world.check_published(&[&["shop/a 1"], &["shop/a 1", "shop/b 2"]]);
    let log = world.log();
    let [_, refused, back] = log.as_slice() else { panic!("{log:#?}") };
    assert!(refused.starts_with("WARN the API server does not know this token"), "{refused}");
    assert!(back.starts_with("INFO the API server is back"), "{back}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_another_authority_vouches_for_is_told_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, token) = (dir.path().join("ca.crt"), dir.path().join("token"));
    fs::write(&ca, Authority::new().pem()).unwrap();
    fs::write(&token, "secret").unwrap();
    let double = Double::start_with(vec![], Some(Authority::new().server(ADDRESS))).await;
    let cluster =
        format!("server: 'https://{}', certificate-authority: {}", double.address, ca.display());
    let user = format!("{{tokenFile: {}}}", token.display());
    let world = World::with(double, List::Pages, &cluster, &user);
    world.pass(60).await;
    assert_eq!(world.double.log(), Vec::<String>::new());
    assert!(world.reader.borrow().is_none());
    let log = world.log();
    let [away] = log.as_slice() else { panic!("{log:#?}") };
    assert!(away.contains("invalid peer certificate"), "{away}");
}
