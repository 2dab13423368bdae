//! `tidy`: the rules of the layout that no compiler knows.
//!
//! The order of the modules and the few places that may name a foreign crate are tables, in
//! `tidy/layers.rs`; the rest is how sources are read for them. What stands behind `#[cfg(test)]`
//! may use anything.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;

use crate::screen;

mod layers;
mod paths;
mod tokens;

use tokens::Token;

/// Lines that a file may have; past that, look for the second thing inside.
const MOST_LINES: usize = 500;

/// Where sources are looked for, below the workspace.
const MEMBERS: &[&str] = &["merger", "merger-common", "merger-ebpf", "xtask"];

/// Carries out the task.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let workspace = crate::workspace();
    let mut files = Vec::new();
    for member in MEMBERS {
        collect(&workspace.join(member), &mut files)?;
    }
    files.sort();
    let mut n_faults = 0;
    for file in &files {
        let source = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let name = file.strip_prefix(&workspace).unwrap_or(file);
        for fault in faults(name, &source) {
            screen::line(&fault);
            n_faults += 1;
        }
    }
    let good = n_faults == 0;
    screen::verdict(good, &format!("tidy: {} files, {n_faults} faults", files.len()));
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is wrong with a file of this name below the workspace, each as `file:line: what`.
fn faults(name: &Path, source: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut report = |line: usize, what: String| {
        faults.push(format!("{}:{line}: {what}", name.display()));
    };
    let n_lines = source.lines().count();
    if n_lines > MOST_LINES {
        report(n_lines, format!("{n_lines} lines, of at most {MOST_LINES}"));
    }
    let tokens = tokens::read(source);
    let unsafe_code = tokens.iter().find(|token| token.text == "unsafe");
    if let Some(Token { line, .. }) = unsafe_code.filter(|_| !layers::may_be_unsafe(name)) {
        report(*line, "unsafe outside of the files whose subject it is".to_owned());
    }
    if let Some(module) = module(name) {
        if !layers::has_place(&module) {
            report(1, format!("{} has no place in xtask/src/tidy/layers.rs", module[0]));
        }
        for (line, path) in paths::of(&tokens, &module) {
            if let Some(what) = layers::fault(&module, &path) {
                report(line, what);
            }
        }
    }
    faults
}

/// The module path of a file of the agent's library.
///
/// The root has none, nor has a file of tests; they may use everything.
fn module(name: &Path) -> Option<Vec<String>> {
    let inside = name.strip_prefix("merger/src").ok()?.with_extension("");
    let module: Vec<String> =
        inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let free = matches!(module.first()?.as_str(), "lib" | "main") || module.last()? == "tests";
    (!free).then_some(module)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = directory.read_dir().with_context(|| directory.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, source: &str, expected: &[&str]) {
        assert_eq!(faults(Path::new(name), source), expected);
    }

    #[test]
    fn a_module_may_use_what_stands_before_it() {
        let source = "use crate::{merge, target::{Pod, Source}};\nfn f() { crate::node::start() }";
        check("merger/src/serve/pages.rs", source, &[]);
    }

    #[test]
    fn a_use_down_the_list_is_found_in_groups_and_in_expressions() {
        check(
            "merger/src/scrape.rs",
            "use crate::{\n    exposition,\n    serve::{self, pages},\n};\nfn f() { crate::app::run() }",
            &[
                "merger/src/scrape.rs:3: scrape may not use serve, which stands after it",
                "merger/src/scrape.rs:3: scrape may not use serve, which stands after it",
                "merger/src/scrape.rs:5: scrape may not use app, which stands after it",
            ],
        );
    }

    #[test]
    fn the_edges_do_not_use_each_other() {
        let what = "pods may not use netns: edges do not use each other";
        check(
            "merger/src/pods/cri.rs",
            "use crate::netns;",
            &[&format!("merger/src/pods/cri.rs:1: {what}")],
        );
        check("merger/src/node/broker.rs", "use crate::{listeners, netns};", &[]);
    }

    #[test]
    fn super_is_followed_to_where_it_leads() {
        check("merger/src/pods/cri.rs", "use super::Pod;\nuse super::super::identity;", &[]);
        let what = "pods may not use inventory, which stands after it";
        check(
            "merger/src/pods/cri.rs",
            "mod inner { use super::super::super::inventory::Index; }",
            &[&format!("merger/src/pods/cri.rs:1: {what}")],
        );
    }

    #[test]
    fn a_foreign_crate_stays_where_it_belongs() {
        check("merger/src/listeners/ebpf.rs", "use aya::{Ebpf, maps};", &[]);
        check(
            "merger/src/inventory.rs",
            "use std::io;\nuse aya_log::EbpfLogger;\nfn f(r: hyper::Request<()>) {}\nuse kube;",
            &[
                "merger/src/inventory.rs:2: aya is named outside of listeners/ebpf, node/loader",
                "merger/src/inventory.rs:3: hyper is named outside of pods/cri, pods/kube, scrape, serve",
                "merger/src/inventory.rs:4: kube is named outside of pods/kube, serve/access",
            ],
        );
    }

    #[test]
    fn a_module_of_our_own_may_have_the_name_of_a_crate() {
        check("merger/src/pods.rs", "mod kube;\nfn f() { kube::watch() }\nuse kube::Watch;", &[]);
    }

    #[test]
    fn comments_strings_and_tests_are_not_read() {
        let source = r##"
//! See `crate::app`.
/* use crate::app; /* nested */ aya::x() */
const A: &str = "crate::app::run \" unsafe";
const B: &str = r#"use crate::app; " unsafe"#;
const C: (char, char) = ('"', '\'');
fn f<'a>(a: &'a str) {}
#[cfg(test)]
use crate::{app::run, serve};
#[cfg(test)]
#[expect(dead_code, reason = "x")]
mod tests {
    use crate::app;
    fn g() { if true {} }
}
"##;
        check("merger/src/merge.rs", source, &[]);
    }

    #[test]
    fn what_follows_a_test_module_is_read_again() {
        check(
            "merger/src/merge.rs",
            "#[cfg(test)]\nmod tests { fn f() {} }\nuse crate::serve;\n#[cfg(not(test))]\nuse crate::app;",
            &[
                "merger/src/merge.rs:3: merge may not use serve, which stands after it",
                "merger/src/merge.rs:5: merge may not use app, which stands after it",
            ],
        );
    }

    #[test]
    fn a_module_without_a_place_in_the_table_is_a_fault() {
        check(
            "merger/src/util.rs",
            "",
            &["merger/src/util.rs:1: util has no place in xtask/src/tidy/layers.rs"],
        );
    }

    #[test]
    fn items_at_the_root_of_the_library_are_no_modules() {
        check("merger/src/serve.rs", "use crate::Problem;\nfn f() { crate::version() }", &[]);
    }

    #[test]
    fn unsafe_is_for_the_listed_files() {
        check("merger/src/netns.rs", "unsafe { x() }", &[]);
        check("merger-ebpf/src/task_file.rs", "#[unsafe(no_mangle)] static X: u32 = 0;", &[]);
        check(
            "merger/src/scrape.rs",
            "#![expect(unsafe_code)]\nfn f() { unsafe { x() } }",
            &["merger/src/scrape.rs:2: unsafe outside of the files whose subject it is"],
        );
    }

    #[test]
    fn a_long_file_is_a_fault_anywhere() {
        let source = "\n".repeat(MOST_LINES);
        check("xtask/src/main.rs", &source, &[]);
        check(
            "xtask/src/main.rs",
            &format!("{source}\n"),
            &["xtask/src/main.rs:501: 501 lines, of at most 500"],
        );
    }
}
