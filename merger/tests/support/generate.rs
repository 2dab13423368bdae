//! Pages by a deterministic generator: small vocabularies, so that names, kinds and labels clash.

/// Marsaglia's xorshift: the same seed gives the same pages on every machine.
pub(crate) struct Random(u64);

const NAMES: &[&str] =
    &["x", "x_count", "x_sum", "x_bucket", "x_total", "y", "y_count", "x_count_sum", "n:m"];
const KINDS: &[&str] = &[
    "counter",
    "gauge",
    "histogram",
    "histogram",
    "summary",
    "untyped",
    "unknown",
    "info",
    "nonsense",
];
const LABELS: &[&str] =
    &["a", "b", "le", "quantile", "container", "exported_container", "endpoint"];
const LABEL_VALUES: &[&str] =
    &["", "1", "0.5", "+Inf", "a", "}", ",", "=", "# {", r"\n", r"\\", r#"\""#, r"\d", "é", " "];
const VALUES: &[&str] = &["0", "1", "2.5", "-1e3", "+Inf", "NaN", "1e400", "one", ""];
const TIMESTAMPS: &[&str] = &["", "", "", " 1395066363000", " 0", " -1", " 1.5"];
const BLANKS: &[&str] = &["", "", "", " ", "\t", "  "];
const GARBAGE: &[&str] =
    &["", "#", "# EOF", "{}", "x{", "x{a=\"", "# TYPE", "# HELP x\\", "<br>", "x 1 2 3"];

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A page of up to 30 lines.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn page(&mut self) -> String {
        let n_lines = self.below(30);
        (0..n_lines).map(|_| self.line()).collect()
    }

    /// The bytes with up to four of them replaced, removed or doubled.
    pub(crate) fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        const HOSTILE: &[u8] = b"\0\n\r\t \"\\{}=,#0e\xff\xc3";
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                break;
            }
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, bytes[at]),
                2 => bytes.truncate(at),
                _ => bytes[at] = HOSTILE[self.below(HOSTILE.len())],
            }
        }
        bytes
    }

    fn line(&mut self) -> String {
        let end = self.pick(&["\n", "\n", "\n", "\r\n", "\n\n"]);
        let name = self.pick(NAMES);
        match self.below(12) {
            0 | 1 => format!("# TYPE {name} {}{end}", self.pick(KINDS)),
            2 => format!("# HELP {name} {}{end}", self.pick(LABEL_VALUES)),
            3 => format!("{}{end}", self.pick(GARBAGE)),
            _ => format!("{}{end}", self.sample(name)),
        }
    }

    fn sample(&mut self, name: &str) -> String {
        let mut labels = Vec::new();
        for _ in 0..self.below(4) {
            let (name, value, blank) =
                (self.pick(LABELS), self.pick(LABEL_VALUES), self.pick(BLANKS));
            labels.push(format!("{blank}{name}=\"{value}\""));
        }
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let (blank, timestamp) = (self.pick(BLANKS), self.pick(TIMESTAMPS));
        let exemplar = self.pick(&["", "", "", "", " # {t=\"1\"} 1"]);
        format!("{name}{labels} {blank}{}{timestamp}{exemplar}", self.pick(VALUES))
    }
}
