//! The paths that a source names, outside of its tests, each from the root of its crate.

use super::tokens::Token;

/// A path and the line it begins at.
type Found = (usize, Vec<String>);

/// All paths of a file, which is the module of the given path.
///
/// A path of our own starts with `crate`; any other starts with the name of a foreign crate, or
/// with a name from inside the file that says nothing about the order.
pub(super) fn of(tokens: &[Token<'_>], module: &[String]) -> Vec<Found> {
    let tokens = without_tests(tokens);
    let mut walk = Walk { tokens: &tokens, at: 0, module: module.to_vec(), open: Vec::new() };
    let mut found = walk.run();
    // A submodule hides a crate of the same name: rustc asks to tell them apart by `::`.
    let own = submodules(&tokens);
    found.retain(|(_, path)| path.first().is_none_or(|first| !own.contains(&first.as_str())));
    found
}

/// Leaves out each item behind `#[cfg(test)]`.
fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut rest = tokens;
    while let Some((first, tail)) = rest.split_first() {
        if starts_test(rest) {
            rest = after_item(rest);
        } else {
            kept.push(*first);
            rest = tail;
        }
    }
    kept
}

fn starts_test(tokens: &[Token<'_>]) -> bool {
    let texts: Vec<&str> = tokens.iter().take(8).map(|token| token.text).collect();
    texts.starts_with(&["#", "[", "cfg", "(", "test", ")", "]"])
        || texts.starts_with(&["#", "[", "cfg", "(", "all", "(", "test"])
}

/// What follows an item: the attributes before it, and its body or its semicolon.
fn after_item<'t, 'a>(mut rest: &'t [Token<'a>]) -> &'t [Token<'a>] {
    while rest.first().is_some_and(|token| token.text == "#") {
        rest = after_group(&rest[1..]);
    }
    let ends_at_brace =
        rest.iter().map(|token| token.text).find(|text| *text != "pub") != Some("use");
    while let Some((first, tail)) = rest.split_first() {
        match first.text {
            ";" => return tail,
            "{" if ends_at_brace => return after_group(rest),
            "(" | "[" | "{" => rest = after_group(rest),
            _ => rest = tail,
        }
    }
    rest
}

/// What follows the bracket that closes the first one.
fn after_group<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return &tokens[at + 1..];
        }
    }
    &[]
}

/// The modules that a file declares.
fn submodules<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    let pairs = tokens.windows(2).filter(|pair| pair[0].text == "mod");
    pairs.map(|pair| pair[1].text).collect()
}

/// One pass over the tokens of a file.
struct Walk<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    /// The module that the pass is in.
    module: Vec<String>,
    /// For each open brace, how long the module's path was before it.
    open: Vec<usize>,
}

// === impl Walk ===

impl Walk<'_, '_> {
    fn run(&mut self) -> Vec<Found> {
        let mut found = Vec::new();
        while let Some(token) = self.tokens.get(self.at) {
            match token.text {
                "mod" if self.text(2) == "{" => {
                    self.open.push(self.module.len());
                    self.module.push(self.text(1).to_owned());
                    self.at += 3;
                    continue;
                }
                "{" => self.open.push(self.module.len()),
                "}" => {
                    let length = self.open.pop().unwrap_or(self.module.len());
                    self.module.truncate(length);
                }
                "use" => {
                    self.at += 1;
                    self.tree(&[], &mut found);
                    continue;
                }
                _ if self.starts_path() => {
                    self.tree(&[], &mut found);
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        found
    }

    /// A word before `::` that is not itself behind one.
    fn starts_path(&self) -> bool {
        let behind = self.at.checked_sub(1).map_or("", |before| self.tokens[before].text);
        self.text(1) == "::" && is_word(self.text(0)) && behind != "::"
    }

    /// Reads a path, or a tree of them as `use` has it, and stops behind it.
    fn tree(&mut self, prefix: &[String], found: &mut Vec<Found>) {
        let mut path = prefix.to_vec();
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        loop {
            match self.text(0) {
                "::" => self.at += 1,
                "{" => return self.group(&path, found),
                word if is_word(word) && word != "as" => {
                    path.push(word.to_owned());
                    self.at += 1;
                    if self.text(0) != "::" {
                        break;
                    }
                }
                _ => break,
            }
        }
        found.extend(self.absolute(path).map(|path| (line, path)));
    }

    fn group(&mut self, prefix: &[String], found: &mut Vec<Found>) {
        self.at += 1;
        loop {
            match self.text(0) {
                "}" | "" => break,
                // Another name for the path before it.
                "as" => self.at += 2,
                "{" | "::" => self.tree(prefix, found),
                word if is_word(word) => self.tree(prefix, found),
                _ => self.at += 1,
            }
        }
        self.at += 1;
    }

    /// The path from the root of the crate; none where it leads out of it.
    fn absolute(&self, path: Vec<String>) -> Option<Vec<String>> {
        let n_up = path.iter().take_while(|word| matches!(word.as_str(), "super" | "self")).count();
        if n_up == 0 {
            return Some(path);
        }
        let n_super = path[..n_up].iter().filter(|word| *word == "super").count();
        let base = self.module.get(..self.module.len().checked_sub(n_super)?)?;
        let root = ["crate".to_owned()];
        Some(root.into_iter().chain(base.iter().chain(&path[n_up..]).cloned()).collect())
    }

    /// The text some tokens ahead, empty behind the end.
    fn text(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.text)
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::{super::tokens, *};

    #[track_caller]
    fn check(source: &str, expected: &[(usize, &str)]) {
        let module = ["pods".to_owned(), "cri".to_owned()];
        let found: Vec<(usize, String)> = of(&tokens::read(source), &module)
            .into_iter()
            .map(|(line, path)| (line, path.join("::")))
            .collect();
        let found: Vec<(usize, &str)> =
            found.iter().map(|(line, path)| (*line, path.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_tree_gives_each_of_its_paths() {
        check(
            "use crate::{a::{self, B as C}, d::*,\ne};",
            &[(1, "crate::a::self"), (1, "crate::a::B"), (1, "crate::d"), (2, "crate::e")],
        );
        check("use {std::io, aya};", &[(1, "std::io"), (1, "aya")]);
    }

    #[test]
    fn a_leading_double_colon_names_a_crate() {
        check("use ::aya::Ebpf;", &[(1, "aya::Ebpf")]);
    }

    #[test]
    fn paths_are_found_in_types_and_expressions() {
        check(
            "fn f(x: crate::a::T) -> Vec<b::U> { c::d::<E>() }",
            &[(1, "crate::a::T"), (1, "b::U"), (1, "c::d")],
        );
    }

    #[test]
    fn relative_paths_start_at_the_module_they_are_in() {
        check("use self::x;\nuse super::y;", &[(1, "crate::pods::cri::x"), (2, "crate::pods::y")]);
        check(
            "mod m { fn f() {} use super::x; }\nuse super::y;",
            &[(1, "crate::pods::cri::x"), (2, "crate::pods::y")],
        );
    }

    #[test]
    fn what_only_tests_use_is_left_out() {
        check("#[cfg(test)] pub(crate) use a::{b, c};\nuse d::e;", &[(2, "d::e")]);
        check("#[cfg(test)] fn f(x: [u8; 2]) { a::b() }\nuse d::e;", &[(2, "d::e")]);
        check("#[cfg(all(test, unix))] mod t;\nuse d::e;", &[(2, "d::e")]);
    }
}
