//! A measured number and its bounds: what it has to be, and what it is to become.

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Promise {
    what: &'static str,
    measured: f64,
    at_least: f64,
    aim: f64,
    /// Whether less is better.
    is_cost: bool,
}

pub(crate) fn print(promises: &[Promise]) {
    println!("{:<44} {:>10} {:>10} {:>10}", "", "measured", "at least", "aim");
    for promise in promises {
        let Promise { what, measured, at_least, aim, is_cost } = promise;
        let unit = if *is_cost { "" } else { "x" };
        let verdict = match (promise.reaches(*aim), promise.holds()) {
            (true, _) => "holds, and the aim",
            (false, true) => "holds",
            (false, false) => "DOES NOT HOLD",
        };
        println!(
            "{what:<44} {measured:>9.3}{unit:1} {at_least:>9}{unit:1} {aim:>9}{unit:1}  {verdict}"
        );
    }
}

// === impl Promise ===

impl Promise {
    /// More is better.
    pub(crate) fn faster(what: &'static str, measured: f64, [at_least, aim]: [f64; 2]) -> Self {
        Self { what, measured, at_least, aim, is_cost: false }
    }

    /// Less is better.
    pub(crate) fn less(what: &'static str, measured: f64, [at_least, aim]: [f64; 2]) -> Self {
        Self { what, measured, at_least, aim, is_cost: true }
    }

    pub(crate) fn holds(&self) -> bool {
        self.reaches(self.at_least)
    }

    fn reaches(&self, bound: f64) -> bool {
        if self.is_cost { self.measured <= bound } else { self.measured >= bound }
    }
}
