//! Where the API server is, and as whom it is spoken to.

use std::{fmt, path::PathBuf, time::Duration};

use kube::{
    Client, Config,
    config::{AuthInfo, InClusterError, Kubeconfig, KubeconfigError},
};

/// The wait for a connection. A server that is away mostly refuses at once.
const CONNECT: Duration = Duration::from_secs(10);

/// How the API server is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// By the service account of this pod: its token, its CA, and the address in its environment.
    InCluster,
    /// By this kubeconfig; where none is named, by those of `KUBECONFIG`, else by `~/.kube/config`.
    Kubeconfig(Option<PathBuf>),
}

/// Why the API server cannot be spoken to, whether it is there or not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This is no pod, or one without a service account.
    #[error(
        "cannot use the service account of this pod: have its token mounted \
         (automountServiceAccountToken), or name a kubeconfig by --kubeconfig"
    )]
    InCluster(#[source] Box<InClusterError>),
    /// The kubeconfig cannot be read, or is none.
    #[error("cannot use {access}: name a right one by --kubeconfig")]
    Kubeconfig {
        /// Which one.
        access: Access,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// The kubeconfig has something run, or asked, to get at a token.
    #[error(
        "{access} says {what} for its user: that is a program to be started or a server to be asked, which \
         the process that speaks to the API server may not do. Name a kubeconfig with a token, a tokenFile or \
         a client certificate (`kubectl create token` makes a token for a service account), or start merger \
         with --single-process, which has every right"
    )]
    Helped {
        /// Which one.
        access: Access,
        /// The field.
        what: &'static str,
    },
    /// What is said there cannot be used: certificates, keys, tokens.
    #[error("cannot prepare a connection to the API server at {url}")]
    Client {
        /// The server.
        url: String,
        /// What is wrong.
        source: Box<kube::Error>,
    },
}

// === impl Access ===

impl Access {
    /// A client as the files say at this moment, so that what was rotated is read anew. It connects
    /// when it is first asked. To be called in a tokio runtime; a plugin of the kubeconfig (`exec`) is
    /// waited for, where this process may start one: see [`Access::check`].
    pub(super) fn client(&self) -> Result<Client, Error> {
        let mut config = self.config()?;
        config.connect_timeout = Some(CONNECT);
        // Whoever asks has its own idea of when to ask again, and says so in the log once.
        config.default_retry = false;
        let url = config.cluster_url.to_string();
        Client::try_from(config).map_err(|source| Error::Client { url, source: source.into() })
    }

    /// Whether what names the API server can be read and is right, as far as this process may say. Without
    /// tokio; nobody is connected to. The one who asks is to be the watcher, which starts no program.
    pub fn check(&self) -> Result<(), Error> {
        let config = self.config()?;
        match help(&config.auth_info) {
            Some(what) => Err(Error::Helped { access: self.clone(), what }),
            None => Ok(()),
        }
    }

    fn config(&self) -> Result<Config, Error> {
        let Self::Kubeconfig(file) = self else {
            return Config::incluster().map_err(|source| Error::InCluster(source.into()));
        };
        let read = file.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from);
        read.and_then(Config::try_from)
            .map_err(|source| Error::Kubeconfig { access: self.clone(), source: source.into() })
    }
}

/// The field by which a client gets at what it is known by with help, in the order in which kube looks: what
/// stands before `exec` goes before it. Source: `TryFrom<&AuthInfo> for Auth` in
/// `kube-client/src/client/auth/mod.rs` of kube-rs/kube.
fn help(user: &AuthInfo) -> Option<&'static str> {
    if user.auth_provider.is_some() {
        return Some("auth-provider");
    }
    let is_known = (user.username.is_some() && user.password.is_some())
        || user.token.is_some()
        || user.token_file.is_some();
    (user.exec.is_some() && !is_known).then_some("exec")
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InCluster => f.write_str("the service account of this pod"),
            Self::Kubeconfig(Some(file)) => write!(f, "the kubeconfig {}", file.display()),
            Self::Kubeconfig(None) => f.write_str("the kubeconfig of KUBECONFIG or ~/.kube/config"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kubeconfig with these fields of its user.
    fn of(user: &str) -> Result<(), String> {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}, {{name: d, context: {{cluster: c, user: v}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}]\n\
             users: [{{name: u, user: {user}}}, {{name: v, user: {{exec: {{command: aws}}}}}}]\n"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let access = Access::Kubeconfig(Some(file.path().to_owned()));
        let name = file.path().display().to_string();
        access.check().map_err(|error| error.to_string().replace(&name, "FILE"))
    }

    #[test]
    fn what_would_have_to_be_started_is_told_before_anything_is() {
        let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, args: [eks, get-token], interactiveMode: Never}}";
        let told = of(exec).unwrap_err();
        assert!(
            told.starts_with("the kubeconfig FILE says exec for its user: that is a program"),
            "{told}"
        );
        assert!(
            told.contains("Name a kubeconfig with a token") && told.contains("--single-process"),
            "{told}"
        );
        let told =
            of("{auth-provider: {name: gcp, config: {cmd-path: gcloud}}, token: t}").unwrap_err();
        assert!(told.starts_with("the kubeconfig FILE says auth-provider for its user"), "{told}");
    }

    #[test]
    fn what_needs_no_help_is_taken_and_so_is_what_goes_before_it() {
        for user in [
            "{}",
            "{token: t}",
            "{tokenFile: /nowhere}",
            "{username: u, password: p}",
            "{token: t, exec: {command: aws}}",
        ] {
            assert_eq!(of(user), Ok(()), "{user}");
        }
        assert!(of("{username: u, exec: {command: aws}}").is_err());
    }
}
