//! A `Secret` as the Kubernetes API writes it, to the keys that are read. Source: `Secret` in
//! `staging/src/k8s.io/api/core/v1/types.go` of kubernetes/kubernetes.
//!
//! Errors of the readers of JSON and base64 may quote what they read, so none of them is handed on.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::target::secret::{Hidden, Keys, Secret, Unread};

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    data: Option<Data>,
}

/// Each in base64.
#[derive(Default, Deserialize)]
struct Data {
    token: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "ca.crt")]
    ca: Option<String>,
}

/// What is used of it, or why it is of no use.
pub(super) fn read(body: &[u8]) -> Result<Secret, Unread> {
    let object: Object = serde_json::from_slice(body).map_err(|_| Unread::Garbled)?;
    let Data { token, username, password, ca } = object.data.unwrap_or_default();
    let decoded = |value: Option<String>| {
        let bytes = value.map(|value| STANDARD.decode(value)).transpose();
        bytes.map(|bytes| bytes.map(Hidden)).map_err(|_| Unread::Garbled)
    };
    let [token, username, password, ca] =
        [decoded(token)?, decoded(username)?, decoded(password)?, decoded(ca)?];
    Ok(Secret::of(Keys { token, username, password, ca })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::secret::{Fault, Identity};

    #[test]
    fn what_is_used_is_kept_and_nothing_else() {
        // A service account's, as a cluster makes it, beside what nobody asked for.
        let text = r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"m","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"token\":\"eHh4\"}}"}},"data":{"namespace":"c2hvcA==","tls.key":"c2VjcmV0","token":"YWJj"},"type":"kubernetes.io/service-account-token"}"#;
        let secret = read(text.as_bytes()).unwrap();
        let bearer = Identity::Bearer(Hidden(b"abc".to_vec()));
        assert_eq!(secret, Secret { identity: Some(bearer), ca: None, stale: None });
        let login = r#"{"data":{"username":"bWU=","password":"cGE6c3M="}}"#;
        let basic = Identity::Basic(Hidden(b"me:pa:ss".to_vec()));
        assert_eq!(read(login.as_bytes()).unwrap().identity, Some(basic));
    }

    #[test]
    fn what_is_no_secret_says_nothing_of_itself() {
        for text in [
            "",
            "hunter2",
            r#"{"data":"hunter2"}"#,
            r#"{"data":{"token":7}}"#,
            r#"{"data":{"token":"hunter2!"}}"#,
            r#"{"data":{"token":"YWJj","token":"YWJj"}}"#,
        ] {
            assert_eq!(read(text.as_bytes()), Err(Unread::Garbled), "{text}");
        }
        for text in ["{}", r#"{"data":null}"#, r#"{"data":{"tls.crt":"YWJj"}}"#] {
            assert_eq!(read(text.as_bytes()), Err(Fault::Nothing.into()), "{text}");
        }
        let broken = r#"{"data":{"token":"aHVudGVyMgo="}}"#;
        let error = read(broken.as_bytes()).unwrap_err();
        assert_eq!(error, Fault::LineBreak.into());
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
