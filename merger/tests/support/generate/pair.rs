//! Two sources in any formats that speak of the same few names, by a deterministic generator.
//!
//! The families of a pair have names with a prefix of its own, so that the pages of many pairs are one
//! page that is checked at once.

use std::fmt::Write as _;

use merger::exposition::Format;

use super::{family::Family, generate::Random, lines, wire};

/// The formats of sources; those that say most come most often.
const FORMATS: [Format; 8] = [
    Format::Text,
    Format::Text,
    Format::Text1,
    Format::OpenMetrics,
    Format::OpenMetrics,
    Format::OpenMetrics0,
    Format::Protobuf,
    Format::Protobuf,
];

/// What makes a pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub(crate) seed: u64,
    /// Whether samples may have timestamps.
    pub(crate) timestamps: bool,
}

/// Two sources.
#[derive(Debug)]
pub(crate) struct Pair(pub(crate) [Source; 2]);

/// A source and what it is written in.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) format: Format,
    pub(crate) body: Vec<u8>,
}

// === impl Pair ===

impl Pair {
    pub(crate) fn new(recipe: Recipe) -> Self {
        let mut random = Random::new(recipe.seed);
        let prefix = format!("p{:05}_", recipe.seed);
        Self([(); 2].map(|()| Source::new(&mut random, &prefix, recipe.timestamps)))
    }

    /// The sources as files of a golden case.
    pub(crate) fn tell(&self) -> String {
        let mut told = String::new();
        for (n, Source { format, body }) in self.0.iter().enumerate() {
            let ending = match format {
                Format::Text | Format::Text1 => "prom",
                Format::OpenMetrics0 | Format::OpenMetrics => "om",
                Format::Protobuf => "pb",
            };
            write!(told, "--- {}-source.{ending} ({format:?})\n{}\n", n + 1, body.escape_ascii())
                .expect("a string takes all");
        }
        told
    }
}

// === impl Source ===

impl Source {
    fn new(random: &mut Random, prefix: &str, timestamps: bool) -> Self {
        let format = random.pick(&FORMATS);
        let is_careful = random.below(2) == 0;
        let n_families = 1 + random.below(4);
        let family = |n| {
            if is_careful {
                Family::careful(random, prefix, n)
            } else {
                Family::new(random, prefix)
            }
        };
        let mut families: Vec<_> = (0..n_families).map(family).collect();
        if !timestamps {
            families.iter_mut().for_each(Family::forget_timestamps);
        }
        let mut body = match format {
            Format::Protobuf => wire::write(random, &families),
            _ => lines::write(random, format, &families, is_careful).into_bytes(),
        };
        // One in four is broken somewhere, which could make a timestamp.
        if timestamps && !is_careful && random.below(4) == 0 {
            body = random.mutate(&body);
        }
        Self { format, body }
    }
}
