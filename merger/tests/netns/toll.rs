//! A pod whose own rules make each packet take long: what that costs whoever connects elsewhere.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use merger::{
    identity::Cookie,
    node::{ConnectError, Node, Refusal},
};

use super::{Pod, called, check, connect, start};

/// Chains that each packet goes through: each jumps to the next this often.
const N_CHAINS: usize = 14;
const N_JUMPS: usize = 3;

/// Rules that a packet of the pod's loopback runs through, millions of them.
fn rules() -> String {
    let mut rules = format!("table inet slow {{ chain c{N_CHAINS} {{ }}; ");
    for n in (1..N_CHAINS).rev() {
        let jumps = format!("jump c{}; ", n + 1).repeat(N_JUMPS);
        write!(rules, "chain c{n} {{ {jumps} }}; ").unwrap();
    }
    rules + "chain i { type filter hook input priority 0; jump c1; }; }"
}

/// Asks for a connection there, and tells what that took.
async fn timed(node: &Node, netns: Cookie, address: SocketAddr) -> (Result<(), Refusal>, Duration) {
    let start = Instant::now();
    let begun = match connect(node, netns, address).await {
        Ok(_) => Ok(()),
        Err(ConnectError::Refused(refusal)) => Err(refusal),
        Err(error) => panic!("{error:?}"),
    };
    (begun, start.elapsed())
}

#[test]
fn rules_that_take_long_have_a_fifth_of_the_brokers_time() {
    check("toll::rules_that_take_long_have_a_fifth_of_the_brokers_time", async || {
        let (slow, neighbour) = (Pod::new(), Pod::new());
        let (_listener, there) = slow.listen("127.0.0.1:0");
        let (_other, here) = neighbour.listen("127.0.0.1:0");
        slow.run("nft", &[&rules()]);
        let (node, _changes) = start();
        let (slow_netns, netns) = (called(&node, &slow).await, called(&node, &neighbour).await);
        // How quick a connection can be here is known by then, and how slow.
        for _ in 0..10 {
            timed(&node, netns, here).await.0.unwrap();
        }
        while timed(&node, slow_netns, there).await.0.is_ok() {}
        let (begin, mut spent, mut n_begun, mut n_refused) = (Instant::now(), Duration::ZERO, 0, 0);
        let mut n_beside = 0;
        // At least until it was begun again after the pause.
        while n_begun < 2 || n_refused == 0 || begin.elapsed() < Duration::from_secs(3) {
            let (begun, took) = timed(&node, slow_netns, there).await;
            match begun {
                Ok(()) => {
                    spent += took;
                    n_begun += 1;
                }
                Err(Refusal::Slow { ms }) => {
                    assert!(ms >= 10, "{ms}");
                    n_refused += 1;
                }
                Err(other) => panic!("{other:?}"),
            }
            let (begun, _) = timed(&node, netns, here).await;
            assert_eq!(begun, Ok(()), "a neighbour is never refused");
            n_beside += 1;
        }
        let all = begin.elapsed();
        assert!(n_beside > 0);
        // The last one may not have been waited for yet.
        assert!(spent < all / 2, "{spent:?} of {all:?}");
    });
}
