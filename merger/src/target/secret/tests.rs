//! Keys in, what is used of them or the reason why not out; and nothing of it printed.

use super::*;

/// What no message may have.
const MARK: &str = "hunter2";

fn hidden(text: &str) -> Hidden {
    Hidden(text.as_bytes().to_vec())
}

fn token(token: &str) -> Keys {
    Keys { token: Some(hidden(token)), ..Keys::default() }
}

fn login(username: &str, password: &str) -> Keys {
    Keys { username: Some(hidden(username)), password: Some(hidden(password)), ..Keys::default() }
}

#[track_caller]
fn check(keys: Keys, expected: &Result<Option<Identity>, Fault>) {
    assert_eq!(Secret::of(keys).map(|secret| secret.identity), *expected);
}

#[test]
fn a_token_goes_before_a_username() {
    let bearer = || Identity::Bearer(hidden("abc.DEF-1"));
    check(token("abc.DEF-1"), &Ok(Some(bearer())));
    check(Keys { token: Some(hidden("abc.DEF-1")), ..login("me", MARK) }, &Ok(Some(bearer())));
    check(login("me", ""), &Ok(Some(Identity::Basic(hidden("me:")))));
    check(login("me", "a:b ü"), &Ok(Some(Identity::Basic(hidden("me:a:b ü")))));
    check(Keys { ca: Some(hidden("pem")), ..Keys::default() }, &Ok(None));
}

#[test]
fn keys_that_say_nothing_whole_are_refused() {
    check(Keys::default(), &Err(Fault::Nothing));
    check(Keys { username: Some(hidden("me")), ..Keys::default() }, &Err(Fault::HalfLogin));
    check(Keys { password: Some(hidden(MARK)), ..Keys::default() }, &Err(Fault::HalfLogin));
}

#[test]
fn a_token_that_no_header_can_have_is_refused() {
    for text in ["hunter2\n", "hunter2\r\nx-admin: 1", "\r", "\nhunter2"] {
        check(token(text), &Err(Fault::LineBreak));
    }
    for text in ["", "hunter2 ", "hun\tter2", "hunter2\0", "hünter2", "hunter2\u{7f}"] {
        check(token(text), &Err(Fault::Token));
    }
}

#[test]
fn a_login_that_would_be_another_is_refused() {
    for (username, password) in [("a:b", MARK), ("a\n", MARK), ("a", "hunter2\n"), ("a\u{7f}", "")]
    {
        check(login(username, password), &Err(Fault::Login));
    }
}

#[test]
fn each_key_has_room_for_so_much() {
    let long = |key, limit| Err(Fault::Long { key, limit });
    assert!(Secret::of(token(&"t".repeat(MAX_TOKEN))).is_ok());
    check(token(&"t".repeat(MAX_TOKEN + 1)), &long(Key::Token, MAX_TOKEN));
    assert!(Secret::of(login("u", &"p".repeat(MAX_LOGIN - 2))).is_ok());
    check(login("u", &"p".repeat(MAX_LOGIN - 1)), &long(Key::Login, MAX_LOGIN));
    let ca = Keys { ca: Some(hidden(&"c".repeat(MAX_CA + 1))), ..token("t") };
    check(ca, &long(Key::Ca, MAX_CA));
}

#[test]
fn nothing_of_a_secret_is_printed() {
    let keys = || Keys { ca: Some(hidden(MARK)), ..token(MARK) };
    assert!(!format!("{:?}", keys()).contains(MARK));
    assert!(!format!("{:?}", login(MARK, MARK)).contains(MARK));
    for keys in [keys(), login("me", MARK)] {
        let secret = Secret::of(keys).unwrap();
        let shown = format!("{secret:?} {secret:#?}");
        assert!(shown.contains("hidden") && !shown.contains(MARK), "{shown}");
    }
    for text in ["hunter2\n", "hunter2 "] {
        let fault = Secret::of(token(text)).unwrap_err();
        assert!(!format!("{fault} {fault:?}").contains(MARK));
    }
}

#[test]
fn only_a_namespace_that_is_named_may_name_a_secret() {
    let rule = Rule::Of(["shop".to_owned()].into());
    assert_eq!(rule.check("merger.io/secret", "shop"), Ok(()));
    let denied = rule.check("merger.io/secret", "web").unwrap_err().to_string();
    assert_eq!(
        denied,
        "annotation merger.io/secret: Secrets of namespace \"web\" are not read: have merger run with \
         --secret-namespaces=web, and let its account get this one"
    );
    assert!(Rule::default().check("merger.io/secret", "").is_err());
    let denied = Rule::Nowhere.check("merger.io/secret", "shop").unwrap_err().to_string();
    assert!(denied.ends_with("so by --pods kube alone"), "{denied}");
}
