//! A test that needs another world than the program it is in: it runs again in a copy of the
//! program, alone, behind a command such as `unshare` that makes that world.

use std::{
    env,
    process::{Command, Output},
};

use tokio::{
    runtime,
    sync::{Mutex, MutexGuard},
};

/// Set in the copy.
const INSIDE: &str = "MERGER_TEST_INSIDE";

/// Runs a test's body in a copy of this program that `command` starts, while no other test runs; an
/// empty one starts it as it is. `needs` is what a person should look at when that fails.
#[track_caller]
pub(crate) fn inside(test: &str, command: &[&str], needs: &str, body: impl AsyncFnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return here(body);
    }
    let program = env::current_exe().expect("a test is a file");
    let arguments = ["--exact", test, "--nocapture"];
    let mut copy = match command {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut copy = Command::new(first);
            copy.args(rest).arg(program);
            copy
        }
    };
    // What is in another program is on the same machine: one of the copies opens two million files,
    // and every look at the node then takes seconds.
    let _alone = ALONE.blocking_lock();
    let output = copy.args(arguments).env(INSIDE, "1").output().expect("the copy starts");
    let Output { status, stdout, stderr } = output;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    // A wrong name would run no test at all, and succeed.
    assert!(status.success() && stdout.contains("1 passed"), "needs {needs}\n{stdout}{stderr}");
}

/// Runs a test's body on a runtime of its own, while no other runs.
pub(crate) fn here(body: impl AsyncFnOnce()) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime needs no right").block_on(async {
        let _alone = alone().await;
        body().await;
    });
}

/// Whoever has it is the only test of the program that runs.
static ALONE: Mutex<()> = Mutex::const_new(());

/// While this lives, no other test of the program runs.
///
/// A child that another test forks has every descriptor of this program until its exec, and is
/// then, truly, a holder of every listener.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}
