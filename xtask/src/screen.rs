//! What a task shows to a person.
//!
//! Colours and signs beyond ASCII go only to a terminal that can show them. A screen that went
//! away is no error: a task that has something to take down must come to its end without it.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    sync::LazyLock,
};

/// What standard output can show.
struct Screen {
    terminal: bool,
    colour: bool,
    unicode: bool,
}

static SCREEN: LazyLock<Screen> = LazyLock::new(Screen::find);

/// Starts a part of a task.
pub(crate) fn headline(text: &str) {
    line("");
    line(&paint("1", text));
}

/// Says what is being done, or what was found.
pub(crate) fn step(text: &str) {
    line(&format!("  {text}"));
}

/// Shows a command before it runs, so that it can be run by hand.
pub(crate) fn command(spelled: &str) {
    line(&paint("2", &format!("  $ {spelled}")));
}

/// Names a failure, on standard error.
pub(crate) fn problem(text: &str) {
    let _ = writeln!(io::stderr().lock(), "error: {text}");
}

/// One line of a table: the sign of a good or a bad end, then the text.
pub(crate) fn verdict(good: bool, text: &str) {
    let sign = match (good, SCREEN.unicode) {
        (true, true) => "✔",
        (false, true) => "✘",
        (true, false) => "ok  ",
        (false, false) => "FAIL",
    };
    line(&format!("  {} {text}", paint(if good { "32" } else { "31" }, sign)));
}

/// Whether a person is likely to watch.
pub(crate) fn is_terminal() -> bool {
    SCREEN.terminal
}

/// Any other line.
pub(crate) fn line(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

fn paint(code: &str, text: &str) -> String {
    if SCREEN.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

// === impl Screen ===

impl Screen {
    fn find() -> Self {
        let terminal = io::stdout().is_terminal();
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        // The first of these that is set names the character set: locale(7).
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_string_lossy().to_ascii_lowercase().replace('-', "");
        Self {
            terminal,
            // Source: https://no-color.org
            colour: terminal && set("NO_COLOR").is_none(),
            unicode: terminal && locale.contains("utf8"),
        }
    }
}
