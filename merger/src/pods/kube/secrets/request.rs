//! One Secret asked for, within its limits.
//!
//! The client's own way to an object would log the whole body where it cannot be read, so the body is read
//! here.

use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::Request;
use kube::{Client, client::Body};
use tokio::time::timeout;
use tracing::debug;

use super::{
    super::{access::Access, contact::Trouble},
    object,
};
use crate::{
    cause,
    target::secret::{Secret, SecretRef, Unread},
};

/// The wait for the whole answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bytes of an answer. A Secret has at most 1 MiB (`MaxSecretSize` in
/// `staging/src/k8s.io/api/core/v1/types.go` of kubernetes/kubernetes), here in base64, twice where it was
/// applied by kubectl, and there are its managed fields.
const MAX_ANSWER: usize = 4 << 20;

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    /// It was given out, of use or not.
    Read(Result<Secret, Unread>),
    /// The API server has said that it gives out none.
    Refused(Unread),
    /// It has said nothing, or nothing of this one.
    Away(Lapse),
}

/// Why the API server has said nothing of any Secret.
#[derive(Debug)]
pub(super) struct Lapse {
    pub(super) trouble: Trouble,
    /// For people: nothing of an answer's body.
    pub(super) why: String,
    /// For the source that is to be asked with it.
    pub(super) unread: Unread,
}

/// Asks for it, and gives back the client for the next one: none where what opens the API server is to be
/// read anew.
pub(super) async fn ask(
    access: Access,
    client: Option<Client>,
    secret: &SecretRef,
) -> (Option<Client>, Answer) {
    let client = match client {
        Some(client) => client,
        // Files are read, and a plugin may be run.
        None => match tokio::task::spawn_blocking(move || access.client()).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => {
                // A kubeconfig that cannot be read may be quoted in it.
                debug!(error = cause::chain(&error), "the API server cannot be asked");
                return (None, unopened());
            }
            Err(error) => {
                debug!(%error, "the API server cannot be asked");
                return (None, unopened());
            }
        },
    };
    let answer = timeout(PATIENCE, answer(&client, secret)).await;
    let answer = answer.unwrap_or_else(|_| away(format!("no whole answer within {PATIENCE:?}")));
    let client = (!matches!(answer, Answer::Away(_))).then_some(client);
    (client, answer)
}

fn away(why: String) -> Answer {
    Answer::Away(Lapse { trouble: Trouble::Away, why, unread: Unread::Away })
}

fn unopened() -> Answer {
    away("the kubeconfig, or the token of the service account, cannot be read now".to_owned())
}

async fn answer(client: &Client, SecretRef { namespace, name }: &SecretRef) -> Answer {
    // Both are names of the API, which a path can have as they are.
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
    let Ok(request) = Request::get(path).body(Body::empty()) else {
        return Answer::Refused(Unread::Missing);
    };
    let response = match client.send(request).await {
        Ok(response) => response,
        Err(error) => {
            debug!(error = cause::chain(&error), "the API server does not answer");
            return away(cause::root(&error).to_string());
        }
    };
    let status = response.status();
    match (status.as_u16(), Trouble::of_status(status.as_u16())) {
        (200, _) => {}
        (404, _) => return Answer::Refused(Unread::Missing),
        (403, _) => return Answer::Refused(Unread::Forbidden),
        // Of the server's errors that may be this one's alone, as that it cannot be decrypted is.
        (code @ (401 | 429), Some(trouble)) => {
            let why = format!("HTTP status {status}");
            return Answer::Away(Lapse { trouble, why, unread: Unread::Status(code) });
        }
        (code, _) => return Answer::Refused(Unread::Status(code)),
    }
    match Limited::new(response.into_body(), MAX_ANSWER).collect().await {
        Ok(body) => Answer::Read(object::read(&body.to_bytes())),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Answer::Refused(Unread::Garbled)
        }
        Err(error) => {
            debug!(error = cause::chain(&*error), "the API server's answer broke off");
            away(format!("its answer broke off: {}", cause::root(&*error)))
        }
    }
}
