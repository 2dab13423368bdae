//! Kinds of work, measured in turns, so that what disturbs the machine disturbs all.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

const N_ROUNDS: usize = 9;

/// What is measured.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) n_bytes: usize,
    pub(crate) n_samples: usize,
}

/// The median of each.
#[derive(Debug)]
pub(crate) struct Rounds(Vec<(Work, Duration)>);

// === impl Rounds ===

impl Rounds {
    pub(crate) fn run<'a>(all: Vec<(Work, Box<dyn Fn() + 'a>)>) -> Self {
        let mut times = vec![Vec::new(); all.len()];
        for _ in 0..N_ROUNDS {
            for ((_, run), times) in all.iter().zip(&mut times) {
                times.push(time(run));
            }
        }
        let median = |mut times: Vec<Duration>| {
            times.sort_unstable();
            times[N_ROUNDS / 2]
        };
        let works = all.into_iter().map(|(work, _)| work);
        Self(works.zip(times.into_iter().map(median)).collect())
    }

    pub(crate) fn print(&self) {
        println!("median of {N_ROUNDS} alternated rounds, in time of this thread");
        println!("{:<32} {:>10} {:>10} {:>8} {:>11}", "", "samples", "ms", "MB/s", "ns/sample");
        for (Work { name, n_bytes, n_samples }, median) in &self.0 {
            let seconds = median.as_secs_f64();
            println!(
                "{name:<32} {n_samples:>10} {:>10.3} {:>8.0} {:>11.1}",
                seconds * 1e3,
                float(*n_bytes) / seconds / 1e6,
                seconds * 1e9 / float(*n_samples),
            );
        }
    }

    pub(crate) fn seconds(&self, name: &str) -> f64 {
        self.find(name).1.as_secs_f64()
    }

    pub(crate) fn nanoseconds_per_sample(&self, name: &str) -> f64 {
        let (work, median) = self.find(name);
        median.as_secs_f64() * 1e9 / float(work.n_samples)
    }

    fn find(&self, name: &str) -> &(Work, Duration) {
        self.0.iter().find(|(work, _)| work.name == name).expect("the work has this name")
    }
}

/// The mean of as many runs as take some milliseconds. To look at the clock is a call of the kernel, which
/// short runs would be charged with, so each look comes after twice as many runs as the one before.
fn time(run: &dyn Fn()) -> Duration {
    let (start, mut n_runs) = (now(), 0);
    loop {
        for _ in 0..n_runs.max(1) {
            run();
        }
        n_runs = (2 * n_runs).max(1);
        let took = now().saturating_sub(start);
        if took >= Duration::from_millis(50) {
            return took / n_runs;
        }
    }
}

/// What this thread has computed: another program on the same core is no part of it.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[expect(clippy::cast_precision_loss, reason = "what is printed has few digits")]
fn float(n: usize) -> f64 {
    n as f64
}
