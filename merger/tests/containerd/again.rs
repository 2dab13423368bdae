//! Pods that are deleted and made again under the same name, while they are scraped all the time.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use super::{
    Clock, Node,
    agent::Agent,
    asking, nonces,
    running::until,
    runtime::{Runtime, Sandbox},
    serving,
};

/// Lives of each name.
const LIVES: usize = 20;

/// Pages of a life that is waited for.
const PAGES: usize = 20;

const NAMES: [&str; 2] = ["left", "right"];

/// What is known of a name. Its lives are counted.
#[derive(Default)]
struct Name {
    state: Mutex<State>,
    over: AtomicBool,
}

#[derive(Default)]
struct State {
    /// When each life had ended.
    ended: Vec<Option<Instant>>,
    /// The newest life that was on a page.
    seen: Option<usize>,
    /// On how many.
    pages_of_it: usize,
    n_seen: usize,
    pages: usize,
    pages_without: usize,
}

#[test]
fn a_pod_made_again_under_its_name_never_mixes_with_the_one_before() {
    let mut clock = Clock::start("made again");
    let node = Node::start();
    let agent = Agent::start(&node);
    clock.tell("containerd and merger run");
    let names = NAMES.map(|_| Name::default());
    thread::scope(|scope| {
        for (n, (name, world)) in NAMES.iter().zip(&names).enumerate() {
            let scraper = scope.spawn(|| scrape(name, world, &agent));
            let node = &node;
            scope.spawn(move || {
                live(n, name, world, node, &scraper);
                world.over.store(true, Ordering::Relaxed);
                scraper.join().expect("no page mixes");
            });
        }
    });
    for (name, world) in NAMES.iter().zip(names) {
        let State { n_seen, pages, pages_without, .. } = world.state.into_inner().unwrap();
        println!(
            "made again: {name}: {LIVES} lives, {n_seen} seen, {pages} pages with a nonce, \
             {pages_without} without, none of another"
        );
        assert!(n_seen >= LIVES / 2, "{name}: {n_seen} of {LIVES} lives were seen");
    }
    clock.tell("no page held another's nonce");
}

/// Every second one is made while the one before is there still.
fn live(
    n: usize,
    name: &'static str,
    world: &Name,
    node: &Node,
    scraper: &thread::ScopedJoinHandle<'_, ()>,
) {
    let mut runtime = node.runtime();
    let mut before: Option<(usize, Sandbox)> = None;
    for life in 0..LIVES {
        if life % 2 == 0 {
            end(&mut before, world, &mut runtime);
        }
        world.state.lock().unwrap().ended.push(None);
        let uid = u32::try_from(NAMES.len() * life + n).unwrap();
        let sandbox = runtime.run(&asking(node, uid, name, "9100"));
        runtime.start(&sandbox, serving("app", &format!("{name}-{life}"), "9100"));
        end(&mut before, world, &mut runtime);
        // The others live for as long as it takes to make the next.
        if life % 2 == 1 || life == LIVES - 1 {
            until("a life is seen", || {
                let state = world.state.lock().unwrap();
                scraper.is_finished() || state.seen == Some(life) && state.pages_of_it >= PAGES
            });
        }
        before = Some((life, sandbox));
    }
    end(&mut before, world, &mut runtime);
}

fn end(before: &mut Option<(usize, Sandbox)>, world: &Name, runtime: &mut Runtime) {
    if let Some((life, sandbox)) = before.take() {
        runtime.stop(&sandbox);
        world.state.lock().unwrap().ended[life] = Some(Instant::now());
        runtime.remove(&sandbox);
    }
}

/// Whatever is on a page of this name is of one life of it, of none that had ended before it was asked
/// for, and never of an earlier one than the page before.
fn scrape(name: &str, world: &Name, agent: &Agent) {
    while !world.over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let page = agent.page(name);
        let found = nonces(&page);
        assert!(found.len() <= 1, "{name}: {page}");
        let mut state = world.state.lock().unwrap();
        let Some(nonce) = found.first() else {
            state.pages_without += 1;
            continue;
        };
        let life = nonce.strip_prefix(name).and_then(|life| life.strip_prefix('-'));
        let life: usize = life.and_then(|life| life.parse().ok()).expect("it is of this name");
        let ended = state.ended[life];
        assert!(ended.is_none_or(|ended| ended >= asked), "{name}-{life} had ended: {page}");
        assert!(state.seen <= Some(life), "{name}: {:?} is younger than {life}", state.seen);
        if state.seen != Some(life) {
            state.n_seen += 1;
            state.pages_of_it = 0;
        }
        state.pages_of_it += 1;
        state.seen = Some(life);
        state.pages += 1;
    }
}
