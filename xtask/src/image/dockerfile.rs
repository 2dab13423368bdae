//! `deploy/Dockerfile` against the task: no test builds it, so what can be held is held here.

use std::fs;

use clap::Parser as _;

use super::{layout, name::Name};
use crate::{Cli, Task, workspace};

fn read(file: &str) -> String {
    fs::read_to_string(workspace().join(file)).unwrap()
}

/// What follows a word at the beginning of a line.
fn after(dockerfile: &str, word: &str) -> Vec<String> {
    let lines = dockerfile.lines();
    lines.filter_map(|line| Some(line.strip_prefix(word)?.trim().to_owned())).collect()
}

#[test]
fn its_container_is_started_as_that_of_the_task() {
    let dockerfile = read("deploy/Dockerfile");
    assert_eq!(after(&dockerfile, "ENTRYPOINT"), [format!("[\"{}\"]", layout::ENTRYPOINT)]);
    assert_eq!(after(&dockerfile, "CMD"), [format!("[\"{}\"]", layout::COMMAND)]);
    assert_eq!(after(&dockerfile, "EXPOSE"), [layout::PORT.to_string()]);
    assert_eq!(after(&dockerfile, "ENV"), [layout::PATH]);
    assert_eq!(after(&dockerfile, "USER"), [""; 0]);
}

#[test]
fn its_files_are_those_that_the_task_puts_where_it_looks() {
    let dockerfile = read("deploy/Dockerfile");
    let [run] = after(&dockerfile, "RUN").try_into().unwrap();
    let words = run.strip_prefix("cargo xtask ").unwrap().split_whitespace();
    let cli = Cli::try_parse_from(["xtask"].into_iter().chain(words)).unwrap();
    let Task::Image(options) = cli.task else { panic!("{run} makes no image") };
    let directory = options.files.unwrap();
    let copies = [". .".to_owned(), format!("--from=builder {}/ /", directory.display())];
    assert_eq!(after(&dockerfile, "COPY"), copies);
    assert!(options.profile == super::Profile::Release);
}

#[test]
fn its_builder_has_the_rust_that_the_workspace_asks_for() {
    let from = after(&read("deploy/Dockerfile"), "FROM");
    let builder = format!("rust:{}-bookworm AS builder", env!("CARGO_PKG_RUST_VERSION"));
    assert_eq!(from, [builder.as_str(), "scratch"]);
}

#[test]
fn the_readme_names_both_ways_to_an_image_and_its_name() {
    let readme = read("README.md");
    for words in ["cargo xtask image", "deploy/Dockerfile", &Name::default().to_string()] {
        assert!(readme.contains(words), "{words}");
    }
}
