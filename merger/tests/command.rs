//! The program as a person starts it: arguments in; output, messages and exit code out.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

/// What the program did.
struct Outcome {
    code: i32,
    /// What it wrote, as text where it is that.
    stdout: String,
    bytes: Vec<u8>,
    stderr: String,
}

fn merger(arguments: &[&str]) -> Outcome {
    merger_reading(arguments, b"")
}

fn merger_reading(arguments: &[&str], input: &[u8]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_merger"));
    command.args(arguments);
    outcome(command, input)
}

fn outcome(mut command: Command, input: &[u8]) -> Outcome {
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever does not read its input closes it, and the write fails: that is its business.
    let _ = child.stdin.take().unwrap().write_all(input);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    Outcome {
        code: status.code().unwrap(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        bytes: stdout,
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

#[track_caller]
fn check(outcome: &Outcome, code: i32, stdout: &str, message: &str) {
    let Outcome { code: found, stdout: said, stderr, bytes: _ } = outcome;
    assert_eq!((*found, said.as_str()), (code, stdout), "{stderr}");
    if message.is_empty() {
        assert_eq!(stderr, "");
    } else {
        assert!(stderr.contains(message), "no {message:?} in {stderr:?}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn files_are_merged_under_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let (app, other) = (dir.path().join("app.prom"), dir.path().join("other.prom"));
    fs::write(&app, "# TYPE m counter\nm 1\n").unwrap();
    fs::write(&other, "m{container=\"x\"} 2").unwrap();
    check(
        &merger(&["merge", text(&app), &format!("proxy={}", text(&other))]),
        0,
        "# TYPE m counter\nm{container=\"app\"} 1\nm{exported_container=\"x\",container=\"proxy\"} 2\n",
        "",
    );
}

#[test]
fn standard_input_is_a_file() {
    let merged = merger_reading(&["merge", "-"], b"m 1\n");
    check(&merged, 0, "m{container=\"stdin\"} 1\n", "");
}

#[test]
fn without_source_labels_the_first_of_a_series_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    fs::write(&a, "m 1\n").unwrap();
    fs::write(&b, "m 2\nn 3\n").unwrap();
    let merged = merger(&["merge", "--source-labels", "none", text(&a), text(&b)]);
    let problem = "merger: b: line 1: series is there already, the first is kept: `m 2`\n";
    check(&merged, 0, "m 1\nn 3\n", problem);
}

#[test]
fn a_problem_is_told_and_costs_its_line() {
    let merged = merger_reading(&["merge", "app=-"], b"m 1\nm{a=\"b 2\nn 3\n");
    let problem = "merger: app: line 2: label value is not closed: `m{a=\"b 2`\n";
    check(&merged, 0, "m{container=\"app\"} 1\nn{container=\"app\"} 3\n", problem);
}

#[test]
fn of_many_problems_twenty_are_told_and_the_others_counted_by_kind() {
    let page = "m{ 1\n".repeat(22) + &"m x\n".repeat(3) + "m 1\n";
    let merged = merger_reading(&["merge", "app=-"], page.as_bytes());
    assert_eq!(merged.stderr.lines().count(), 22);
    let last = "line 20: label has no valid name: `m{ 1`\n\
                merger: app: 2 more: label has no valid name\n\
                merger: app: 3 more: value is not a number\n";
    check(&merged, 0, "m{container=\"app\"} 1\n", last);
}

#[test]
fn a_file_that_cannot_be_read_costs_itself() {
    let merged = merger_reading(&["merge", "/nowhere.prom", "-"], b"m 1\n");
    let problem = "merger: /nowhere.prom: cannot be read: No such file or directory";
    check(&merged, 0, "m{container=\"stdin\"} 1\n", problem);
    check(&merger(&["merge", "/nowhere.prom"]), 1, "", problem);
}

#[test]
fn an_input_without_end_costs_itself() {
    let merged = merger_reading(&["merge", "/dev/zero", "-"], b"m 1\n");
    let problem = "merger: zero: left out: body larger than 134217727 bytes\n";
    check(&merged, 0, "m{container=\"stdin\"} 1\n", problem);
}

#[test]
fn two_files_of_one_name_are_refused() {
    let message = "merger: two inputs are named m: give one another name, as in other=b/m.prom\n";
    check(&merger(&["merge", "a/m.prom", "b/m.prom"]), 2, "", message);
}

#[test]
fn a_wrong_argument_has_exit_code_2_and_shows_the_right_one() {
    check(&merger(&["run", "--lisen", "x"]), 2, "", "--listen");
    check(&merger(&["run", "--pods", "kubernetes"]), 2, "", "the source of pods is kube, ");
    check(&merger(&["run", "--scrape-timeout", "10"]), 2, "", "a number with ms, s or m");
    check(&merger(&["probe"]), 2, "", "--pid");
    check(&merger(&["merge"]), 2, "", "[NAME=]FILE");
    check(&merger(&[]), 2, "", "Usage: merger");
}

#[test]
fn settings_that_cannot_be_followed_end_the_run_with_the_next_step() {
    let log = merger(&["run", "--pods", "manifests:/tmp", "--log", "merger=loud"]);
    check(&log, 2, "", "--log merger=loud: neither a level nor directives like merger=debug,info");
    let open = ["run", "--pods", "manifests:/tmp", "--listen", "0.0.0.0:0"];
    check(&merger(&open), 2, "", "say --insecure-plaintext");
    let silent = ["run", "--pods", "cri:/nowhere", "--listen", "127.0.0.1:0"];
    check(&merger(&silent), 1, "", "no container runtime answers at /nowhere");
    let alone = [&silent[..], &["--single-process"]].concat();
    check(&merger(&alone), 1, "", "no container runtime answers at /nowhere");
    let nowhere = merger(&["run", "--pods", "manifests:/nowhere"]);
    check(&nowhere, 1, "", "cannot read the manifests in /nowhere");
    let kube = ["run", "--listen", "127.0.0.1:0", "--pods", "kube", "--kubeconfig", "/nowhere"];
    for alone in [&[][..], &["--single-process"]] {
        let nowhere = merger(&[&kube[..], alone].concat());
        let why = "cannot use the kubeconfig /nowhere: name a right one by --kubeconfig";
        check(&nowhere, 1, "", why);
    }
    let file = merger(&["run", "--config", "/nowhere.yaml"]);
    check(&file, 2, "", "cannot read the settings in /nowhere.yaml: No such file");
}

#[test]
fn a_port_that_is_taken_is_told_with_the_flag_that_chooses_another() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let pods = format!("manifests:{}", text(dir.path()));
    let message = format!(
        "cannot listen on {address}: is another merger running? choose an address by --listen"
    );
    check(&merger(&["run", "--pods", &pods, "--listen", &address]), 1, "", &message);
}

/// As root, a user without any right is played by `setpriv` of util-linux.
#[test]
fn a_missing_right_is_named_with_what_it_is_for() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("merger");
    // By another process: what this one has open for writing, a child of another test may have for a moment.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_merger")).arg(&program).status();
    assert!(copied.unwrap().success());
    let mut command = if rustix::process::geteuid().is_root() {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.path(), mode).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command
    } else {
        Command::new(&program)
    };
    let pods = format!("manifests:{}", text(dir.path()));
    command.args(["run", "--listen", "127.0.0.1:0", "--pods", &pods]);
    let found = outcome(command, b"");
    check(&found, 1, "", "cannot enter network namespaces: missing CAP_SYS_ADMIN");
}

#[test]
fn a_namespace_that_is_not_there_is_told_by_its_name() {
    let probed = merger(&["probe", "--netns", "/run/netns/nowhere"]);
    check(&probed, 1, "", "merger: cannot open the namespace /run/netns/nowhere: No such file");
}

#[test]
fn completions_are_those_of_the_shell() {
    let bash = merger(&["completions", "bash"]);
    assert_eq!(bash.code, 0);
    assert!(bash.stdout.contains("complete -F _merger"), "{}", bash.stdout);
}

#[test]
fn standard_input_is_read_only_once() {
    let message = "standard input can be read only once";
    check(&merger_reading(&["merge", "a=-", "b=-"], b"m 1\n"), 2, "", message);
}

#[test]
fn a_path_may_have_an_equals_sign() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a=b.prom");
    fs::write(&file, "m 1\n").unwrap();
    check(&merger(&["merge", text(&file)]), 0, "m{container=\"a=b\"} 1\n", "");
}

#[test]
fn a_file_of_which_every_line_is_wrong_was_not_read() {
    let page = merger_reading(&["merge", "-"], b"login failed\ntry again\n");
    check(&page, 1, "", "merger: nothing could be read\n");
    check(&merger_reading(&["merge", "-"], b""), 0, "", "");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    for arguments in [&["completions", "bash"][..], &["merge", "-"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = Command::new(env!("CARGO_BIN_EXE_merger"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"m 1\n").unwrap_or_default();
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        assert_eq!((status.code(), String::from_utf8_lossy(&stderr).as_ref()), (Some(0), ""));
    }
}

#[test]
fn output_that_cannot_be_written_is_told() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_merger"));
    let Output { status, stderr, .. } =
        command.args(["completions", "bash"]).stdout(full).output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("merger: cannot write the completions: No space left"), "{stderr}");
}

#[test]
fn a_file_that_is_no_network_namespace_is_told_so() {
    let message = "merger: cannot enter the namespace: it is no network namespace";
    check(&merger(&["probe", "--netns", "/etc/passwd"]), 1, "", message);
    let wait = merger(&["probe", "--netns", "/etc/passwd", "--timeout", "0s"]);
    check(&wait, 2, "", "--timeout is 0: nothing could be scraped");
}

/// The gauge `m` with the value 1, as a message behind its length.
const MESSAGE: &[u8] = b"\x12\x0a\x01m\x18\x01\x22\x0b\x12\x09\x09\x00\x00\x00\x00\x00\x00\xf0\x3f";

/// The page that `merge --source-labels none` makes of one file of this name, with more arguments.
#[track_caller]
fn check_file(name: &str, body: &[u8], more: &[&str], expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    fs::write(&file, body).unwrap();
    let arguments = [&["merge", "--source-labels", "none", text(&file)], more].concat();
    check(&merger(&arguments), 0, expected, "");
}

#[test]
fn the_page_is_in_the_format_that_is_asked_for() {
    let input = b"# HELP m_total Help.\n# TYPE m_total counter\nm_total 1\n";
    let openmetrics = "# HELP m Help.\n# TYPE m counter\nm_total 1\n# EOF\n";
    for (format, expected) in [
        ("text", str::from_utf8(input).unwrap()),
        ("text-1.0", str::from_utf8(input).unwrap()),
        ("openmetrics", openmetrics),
        ("openmetrics-0.0.1", openmetrics),
    ] {
        check_file("m.prom", input, &["--format", format], expected);
    }
}

#[test]
fn a_page_of_protobuf_is_messages() {
    let page = merger_reading(&["merge", "--format", "protobuf", "-"], b"# TYPE m gauge\nm 1\n");
    assert_eq!((page.code, page.stderr.as_str()), (0, ""));
    assert_eq!(page.bytes.get(1..4), Some(&b"\x0a\x01m"[..]), "{:?}", page.bytes);
}

/// The terminal is `script` of util-linux.
#[test]
fn protobuf_is_not_written_to_a_terminal() {
    for arguments in ["merge --format protobuf -", "probe --pid 1 --format protobuf"] {
        let mut terminal = Command::new("script");
        let command = format!("{} {arguments}", env!("CARGO_BIN_EXE_merger"));
        terminal.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
        let refused = outcome(terminal, b"");
        assert_eq!(refused.code, 2, "{}", refused.stdout);
        let message = "merger: protobuf is not for a terminal: send it to a file or a program";
        assert!(refused.stdout.contains(message), "{}", refused.stdout);
    }
}

#[test]
fn names_that_are_no_identifiers_are_escaped_as_asked() {
    let input = "{\"a.b\",\"c d\"=\"1\"} 1\n";
    for (arguments, expected) in [
        (&["--format", "text-1.0"][..], input),
        (&["--format", "text-1.0", "--escaping", "allow-utf-8"], input),
        (&["--format", "text-1.0", "--escaping", "underscores"], "a_b{c_d=\"1\"} 1\n"),
        (&["--escaping", "allow-utf-8"], "a_b{c_d=\"1\"} 1\n"),
        (&["--escaping", "dots"], "a_dot_b{c__d=\"1\"} 1\n"),
        (&["--escaping", "values"], "U__a_2e_b{U__c_20_d=\"1\"} 1\n"),
    ] {
        check_file("m.prom", input.as_bytes(), arguments, expected);
    }
}

#[test]
fn a_label_is_put_into_every_series() {
    let arguments = ["merge", "--label", "cluster=eu=1", "--label", "node=", "app=-"];
    let merged = merger_reading(&arguments, b"m 1\nm{cluster=\"us\",node=\"x\"} 2\n");
    let Outcome { code, stdout, stderr, .. } = &merged;
    assert_eq!((*code, stderr.as_str()), (0, ""), "{stdout}");
    let mut lines = stdout.lines();
    assert_eq!(lines.next(), Some("m{container=\"app\",cluster=\"eu=1\"} 1"));
    let second = lines.next().unwrap_or_default();
    for label in ["exported_cluster=\"us\"", "exported_node=\"x\"", "cluster=\"eu=1\""] {
        assert!(second.contains(label), "{second}");
    }
}

#[test]
fn a_label_that_cannot_be_put_into_every_series_is_refused() {
    let refused = |labels: &[&str]| {
        let labels = labels.iter().flat_map(|label| ["--label", label]);
        merger_reading(&["merge", "-"].into_iter().chain(labels).collect::<Vec<_>>(), b"m 1\n")
    };
    check(&refused(&["cluster"]), 2, "", "a label is NAME=VALUE, as in cluster=eu");
    for name in ["le", "quantile", "__name__", "a-b", "1a", ""] {
        let message = format!("`{name}` cannot be put into every series");
        check(&refused(&[&format!("{name}=x")]), 2, "", &message);
    }
    check(&refused(&["a=1", "a=2"]), 2, "", "merger: --label names a twice");
    check(&refused(&["container=x"]), 2, "", "or say --source-labels none");
    check_file("m.prom", b"m 1\n", &["--label", "container=x"], "m{container=\"x\"} 1\n");
}

#[test]
fn a_file_is_read_as_its_ending_says() {
    let gauge = "# TYPE m gauge\nm 1\n";
    check_file("m.prom", gauge.as_bytes(), &[], gauge);
    check_file("m.txt", gauge.as_bytes(), &[], gauge);
    check_file("m.om", b"# TYPE m gauge\nm 1\n# EOF\n", &[], gauge);
    check_file("M.PB", MESSAGE, &[], gauge);
}

#[test]
fn a_file_is_read_as_what_it_plainly_is() {
    let gauge = "# TYPE m gauge\nm 1\n";
    check_file("m", gauge.as_bytes(), &[], gauge);
    check_file("m.pb", gauge.as_bytes(), &[], gauge);
    check_file("m.prom", b"# TYPE m gauge\nm 1\n# EOF\n", &[], gauge);
    check_file("m.prom", MESSAGE, &[], gauge);
    check_file("m", MESSAGE, &[], gauge);
}

#[test]
fn an_input_format_goes_before_ending_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.prom");
    fs::write(&file, "m 1\n").unwrap();
    let merged = merger(&["merge", "--input-format", "openmetrics", text(&file)]);
    let message = "merger: m: left out: the last line is not `# EOF`: the page was cut off\n";
    check(&merged, 1, "", message);
    check_file("m.om", b"m 1\n", &["--input-format", "text"], "m 1\n");
}

#[test]
fn an_openmetrics_file_without_its_last_line_was_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.om");
    fs::write(&file, "m 1\n").unwrap();
    let message = "merger: m: left out: the last line is not `# EOF`: the page was cut off\n";
    check(&merger(&["merge", text(&file)]), 1, "", message);
}

#[test]
fn a_file_that_is_no_exposition_is_told_what_it_is() {
    for (body, what) in [("<html>\nlog in</html>\n", "an HTML page"), ("{\"status\":1}", "JSON")] {
        let merged = merger_reading(&["merge", "-"], body.as_bytes());
        let message = format!(
            "merger: stdin: left out: it is {what}, no exposition; if it is one, say which by \
             --input-format\nmerger: nothing could be read\n"
        );
        check(&merged, 1, "", &message);
    }
    let forced = merger_reading(&["merge", "--input-format", "text", "-"], b"<html>\nm 1\n");
    let problem = "merger: stdin: line 1: line begins with no metric name: `<html>`\n";
    check(&forced, 0, "m{container=\"stdin\"} 1\n", problem);
}

#[test]
fn a_format_that_there_is_not_is_told_those_that_there_are() {
    for flag in ["--format", "--input-format"] {
        let formats = "[possible values: text, text-1.0, openmetrics, openmetrics-0.0.1, protobuf]";
        check(&merger(&["merge", flag, "json", "-"]), 2, "", formats);
    }
    let schemes = "[possible values: allow-utf-8, underscores, dots, values]";
    check(&merger(&["merge", "--escaping", "utf8", "-"]), 2, "", schemes);
    check(&merger(&["probe", "--pid", "1", "--format", "json"]), 2, "", "openmetrics-0.0.1");
}
