use super::*;

const FORMATS: [Format; 5] =
    [Format::Text, Format::Text1, Format::OpenMetrics0, Format::OpenMetrics, Format::Protobuf];

const DELIMITED: &str = "application/vnd.google.protobuf; \
                         proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// A gauge without a value, as a message behind its length.
const MESSAGE: &[u8] = b"\x11\x0a\x07go_info\x18\x01\x22\x04\x12\x02\x09\x00";

/// What a source gave that declared and said this.
#[track_caller]
fn check(content_type: Option<&str>, body: &[u8], expected: Result<Format, &str>) {
    let found = format_of(content_type.map(str::as_bytes), body);
    assert_eq!(
        found.map_err(|error| error.to_string()),
        expected.map_err(str::to_owned),
        "{content_type:?}"
    );
}

/// What a reader gets, and the Content-Type that tells so.
#[track_caller]
fn check_output(accept: &str, expected: &str) {
    assert_eq!(content_type(output(Some(accept))), expected, "{accept}");
}

mod asking {
    use super::*;

    #[test]
    fn the_first_of_an_accept_header_is_the_best_for_the_page() {
        for (format, first) in [
            (Format::Protobuf, Format::Protobuf),
            (Format::OpenMetrics, Format::OpenMetrics),
            (Format::OpenMetrics0, Format::OpenMetrics),
            (Format::Text1, Format::Text1),
            (Format::Text, Format::Text1),
        ] {
            let escaping = Escaping::AllowUtf8;
            assert_eq!(output(Some(accept(format))), Output { format: first, escaping });
        }
    }

    #[test]
    fn every_accept_header_ends_with_whatever_there_is_and_its_ranks_fall() {
        for format in FORMATS {
            let ranks: Vec<&str> =
                accept(format).split(',').filter_map(|range| range.split(";q=").nth(1)).collect();
            assert!(ranks.is_sorted_by(|a, b| a > b), "{ranks:?}");
            assert!(accept(format).ends_with(",*/*;q=0.1"));
            assert!(accept(format).contains("text/plain;version=0.0.4;q="));
        }
    }

    #[test]
    fn protobuf_is_named_only_where_it_can_be_passed_on() {
        for format in FORMATS {
            let is_named = accept(format).contains("protobuf");
            assert_eq!(is_named, format == Format::Protobuf, "{format:?}");
        }
    }

    #[test]
    fn every_range_of_an_accept_header_is_one_that_this_program_can_read() {
        for format in FORMATS {
            assert_eq!(range::all(accept(format)).count(), accept(format).split(',').count());
        }
    }
}

mod serving {
    use super::*;

    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    const OPENMETRICS: &str =
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores";
    const OPENMETRICS0: &str =
        "application/openmetrics-text; version=0.0.1; charset=utf-8; escaping=underscores";

    /// The tables of `TestNegotiate` and `TestNegotiateIncludingOpenMetrics` in prometheus/common,
    /// `expfmt/encode_test.go`, as far as they ask for what is written here.
    #[test]
    fn a_reader_gets_what_promhttp_would_give() {
        let delimited = DELIMITED.replace("; ", ";");
        check_output(&delimited, &format!("{DELIMITED}; escaping=underscores"));
        check_output(
            &format!("{delimited}; escaping=allow-utf-8;"),
            &format!("{DELIMITED}; escaping=allow-utf-8"),
        );
        check_output("text/plain;version=0.0.4", TEXT);
        check_output("text/plain;version=0.0.4;", TEXT);
        check_output(
            "text/plain;version=0.0.4; escaping=values;",
            "text/plain; version=0.0.4; charset=utf-8; escaping=values",
        );
        check_output("application/openmetrics-text", OPENMETRICS0);
        check_output(
            "application/openmetrics-text;version=0.0.1; escaping=underscores",
            OPENMETRICS0,
        );
        check_output("application/openmetrics-text;version=1.0.0", OPENMETRICS);
        check_output("application/openmetrics-text;version=2.0.0", TEXT);
        check_output("application/openmetrics-text;version=0.0.4", TEXT);
        check_output(
            "application/openmetrics-text;version=1.0.0; escaping=values;",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=values",
        );
        check_output("*/*", TEXT);
        check_output("text/plain", TEXT);
        check_output("application/unknown", TEXT);
    }

    /// `acceptHeader` in prometheus/prometheus, `scrape/scrape.go`, with the protocols of
    /// `DefaultScrapeProtocols` and `DefaultProtoFirstScrapeProtocols`; and the one of 2.42.
    #[test]
    fn a_prometheus_gets_what_it_ranks_first() {
        let lines = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     application/openmetrics-text;version=0.0.1;q=0.5,\
                     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        check_output(lines, &OPENMETRICS.replace("underscores", "allow-utf-8"));
        let protobuf = format!("{};q=0.7,{lines}", DELIMITED.replace("; ", ";"));
        check_output(&protobuf, &format!("{DELIMITED}; escaping=underscores"));
        check_output(
            "application/openmetrics-text;version=1.0.0,\
             application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,\
             */*;q=0.1",
            OPENMETRICS,
        );
    }

    #[test]
    fn a_browser_gets_text() {
        check_output(
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            TEXT,
        );
        assert_eq!(output(None), Output::default());
    }

    #[test]
    fn text_of_the_old_version_has_no_names_in_quotes() {
        check_output("text/plain;version=0.0.4;escaping=allow-utf-8", TEXT);
        check_output("*/*;escaping=allow-utf-8", TEXT);
        check_output(
            "text/plain;version=1.0.0;escaping=allow-utf-8",
            "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        );
        let impossible = Output { format: Format::Text, escaping: Escaping::AllowUtf8 };
        assert_eq!(content_type(impossible), TEXT);
    }

    #[test]
    fn the_higher_rank_goes_first_then_the_more_specific_then_the_earlier() {
        let openmetrics = "application/openmetrics-text;version=1.0.0";
        check_output(&format!("text/plain;q=0.4,{openmetrics};q=0.5"), OPENMETRICS);
        check_output(&format!("text/plain;q=0.5,{openmetrics};q=0.4"), TEXT);
        check_output(&format!("*/*,{openmetrics}"), OPENMETRICS);
        check_output(&format!("text/*,{openmetrics}"), OPENMETRICS);
        check_output(&format!("text/plain,{openmetrics}"), TEXT);
        check_output(&format!("{openmetrics},text/plain"), OPENMETRICS);
        check_output("application/*,*/*", OPENMETRICS);
    }

    #[test]
    fn case_blanks_and_quotes_do_not_matter() {
        check_output(" Application/OpenMetrics-Text ; VERSION = \"1.0.0\" ; Q=0.5 ", OPENMETRICS);
        check_output(
            "\tapplication/openmetrics-text\t;version=1.0.0\t,\ttext/plain;q=0.9",
            OPENMETRICS,
        );
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        for malformed in [
            "",
            ",",
            ";",
            "/",
            "text",
            "text/",
            "/plain",
            "a/b/c",
            "text/pl ain",
            "text/plain;q=",
            "text/plain;q=x",
            "text/plain;q=NaN",
            "text/plain;q=-1",
            "text/plain;q=2",
            "\u{0}\u{e9}",
            "text/plain;q=0",
        ] {
            let accept = format!("{malformed},application/openmetrics-text;version=1.0.0;q=0.1");
            check_output(&accept, OPENMETRICS);
            check_output(malformed, TEXT);
        }
        check_output("text/plain;escaping=secret", TEXT);
        check_output("text/plain;;=;version;version=1.0.0", &TEXT.replace("0.0.4", "1.0.0"));
    }

    #[test]
    fn protobuf_of_another_message_or_encoding_is_not_written() {
        for parameters in [
            "",
            ";proto=io.prometheus.client.MetricFamily",
            ";encoding=delimited",
            ";proto=io.prometheus.client.MetricFamily;encoding=text",
            ";proto=io.prometheus.client.MetricFamily;encoding=compact-text",
            ";proto=other;encoding=delimited",
        ] {
            check_output(&format!("application/vnd.google.protobuf{parameters}"), TEXT);
        }
    }

    #[test]
    fn what_is_served_is_read_as_what_it_is() {
        for format in FORMATS {
            for escaping in Escaping::ALL {
                let declared = content_type(Output { format, escaping });
                assert_eq!(format_of(Some(declared.as_bytes()), b""), Ok(format), "{declared}");
            }
        }
    }
}

mod reading {
    use super::*;

    #[test]
    fn lines_are_read_as_what_is_declared() {
        for (declared, format) in [
            ("text/plain", Format::Text),
            ("text/plain; version=0.0.4; charset=utf-8", Format::Text),
            ("text/plain; version=0.0.5", Format::Text),
            ("Text/Plain;charset=latin-1", Format::Text),
            (" text/plain ;version=1.0.0; escaping=underscores", Format::Text1),
            ("text/plain; version=0.0.4; escaping=allow-utf-8", Format::Text1),
            ("application/openmetrics-text", Format::OpenMetrics0),
            ("application/openmetrics-text; version=0.0.1", Format::OpenMetrics0),
            ("application/openmetrics-text;version=\"1.0.0\";charset=utf-8", Format::OpenMetrics),
            ("application/openmetrics-text; version=2.0.0", Format::OpenMetrics),
        ] {
            check(Some(declared), b"m 1\n", Ok(format));
            check(Some(declared), b"", Ok(format));
        }
    }

    #[test]
    fn what_declares_nothing_is_what_it_looks_like() {
        for declared in [None, Some(""), Some(" ")] {
            check(declared, b"", Ok(Format::Text));
            check(declared, b"m 1\n", Ok(Format::Text));
            check(declared, b"\n\n# HELP m\n", Ok(Format::Text));
            check(declared, b"a\n\n1\n", Ok(Format::Text));
            check(declared, b"{\"quoted name\", a=\"1\"} 1\n", Ok(Format::Text));
            check(declared, b"m 1\n# EOF\n", Ok(Format::OpenMetrics));
            check(declared, b"# EOF", Ok(Format::OpenMetrics));
            check(declared, MESSAGE, Ok(Format::Protobuf));
        }
    }

    /// ztunnel labels its body so (`metrics/server.rs` in istio/ztunnel).
    #[test]
    fn openmetrics_that_is_declared_as_text_is_openmetrics() {
        check(Some("text/plain"), b"# TYPE m info\nm_info 1\n# EOF\n", Ok(Format::OpenMetrics));
        check(Some("text/plain"), b"m 1\r\n# EOF\r\n", Ok(Format::OpenMetrics));
        check(Some("text/plain"), b"m 1\n# EOF\nn 2\n", Ok(Format::Text));
        check(Some("text/plain"), b"m 1 # EOF\n", Ok(Format::Text));
    }

    #[test]
    fn openmetrics_without_its_last_line_stays_what_it_is() {
        check(
            Some("application/openmetrics-text;version=1.0.0"),
            b"m 1\n",
            Ok(Format::OpenMetrics),
        );
    }

    #[test]
    fn protobuf_is_read_whatever_was_declared() {
        let types = [DELIMITED, "text/plain", "application/openmetrics-text", "text/html", ""];
        for declared in types {
            check(Some(declared), MESSAGE, Ok(Format::Protobuf));
        }
        // A length or a name may have any first byte, also that of a web page, an object or a line.
        for len in [b'<', b'{', b' ', b'\n', b'#', b'm'] {
            let body = [&[len], &MESSAGE[1..]].concat();
            check(Some("text/plain"), &body, Ok(Format::Protobuf));
        }
        let long = [&b"\xff\x01\x0a\x82\x01"[..], &[b'm'; 130], b"\x18\x01"].concat();
        check(None, &long, Ok(Format::Protobuf));
        check(None, "\x11\x0a\x08http.é\x18\x01".as_bytes(), Ok(Format::Text));
        check(None, "\x11\x0a\x07http.é\x18\x01".as_bytes(), Ok(Format::Protobuf));
    }

    #[test]
    fn what_declares_protobuf_may_leave_out_the_parameters() {
        for declared in [DELIMITED, "application/vnd.google.protobuf"] {
            check(Some(declared), b"", Ok(Format::Protobuf));
            check(Some(declared), b"\x04\x22\x02\x12\x00", Ok(Format::Protobuf));
        }
    }

    #[test]
    fn lines_that_are_declared_as_protobuf_are_lines() {
        check(Some(DELIMITED), b"m 1\n", Ok(Format::Text));
        check(Some(DELIMITED), b"# TYPE m gauge\nm 1\n", Ok(Format::Text));
        check(Some(DELIMITED), b"m 1\n# EOF\n", Ok(Format::OpenMetrics));
    }

    #[test]
    fn a_wrong_type_is_passed_over_where_the_body_is_plain() {
        for declared in ["text/html", "application/octet-stream", "application/json", "nonsense"] {
            check(Some(declared), b"# HELP m x\nm 1\n", Ok(Format::Text));
            check(Some(declared), b"m 1\n# EOF\n", Ok(Format::OpenMetrics));
        }
    }

    #[test]
    fn another_type_is_refused_by_name() {
        check(
            Some("application/xml"),
            b"m 1\n",
            Err("answered with Content-Type `application/xml`, but only Prometheus text, \
                 OpenMetrics and delimited protobuf are read; make it follow the Accept header"),
        );
        for declared in [
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text",
            "application/vnd.google.protobuf; proto=other; encoding=delimited",
            "text/html",
            "application/json",
            "text/plainer",
        ] {
            let found = format_of(Some(declared.as_bytes()), b"name: \"m\"\n");
            assert!(matches!(found, Err(Error::ContentType(_))), "{declared}: {found:?}");
        }
        assert!(format_of(Some(b"\xff"), b"m 1\n").is_err());
    }

    #[test]
    fn a_body_that_is_no_exposition_is_refused_whatever_was_declared() {
        for declared in [None, Some("text/plain"), Some("application/json"), Some(DELIMITED)] {
            check(
                declared,
                b"\n <!DOCTYPE html>",
                Err("answered with an HTML page, but only Prometheus text, OpenMetrics and \
                     delimited protobuf are read; check the path"),
            );
            check(
                declared,
                b"{ \"status\" : 404 }",
                Err("answered with JSON, but only Prometheus text, OpenMetrics and delimited \
                     protobuf are read; check the path"),
            );
        }
    }

    #[test]
    fn a_hostile_type_is_shown_shortened_and_escaped() {
        let declared = format!("text/\x1b{}", "x".repeat(200));
        let found = format_of(Some(declared.as_bytes()), b"").map_err(|error| error.to_string());
        let shown = "x".repeat(74);
        assert_eq!(
            found,
            Err(format!(
                "answered with Content-Type `text/\\u{{1b}}{shown}`, but {READ}; \
                 make it follow the Accept header"
            ))
        );
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let bodies =
            [MESSAGE, b"{ \"a\" : 1}", b"<", b"# EOF\n", b"\xff\xff\xff\xff\x7f\x0a\xff\xff"];
        for body in bodies {
            for at in 0..=body.len() {
                for byte in 0..=u8::MAX {
                    let mut changed = body[..at].to_vec();
                    changed.push(byte);
                    changed.extend_from_slice(body.get(at + 1..).unwrap_or_default());
                    for declared in [None, Some(&changed[..]), Some(b"text/plain")] {
                        let found = format_of(declared, &changed);
                        assert_eq!(found, format_of(declared, &changed));
                    }
                    if let Ok(text) = str::from_utf8(&changed) {
                        assert_eq!(output(Some(text)), output(Some(text)));
                    }
                }
            }
        }
    }
}
