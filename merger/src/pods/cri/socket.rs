//! The socket of a container runtime: where it is, and connections to it.
//!
//! It is root's, and whoever has it is root on the node.

use std::{
    future, io,
    os::unix::net,
    path::{Path, PathBuf},
    pin::Pin,
};

use tokio::{net::UnixStream, sync::oneshot};

/// Where runtimes listen, in the order in which they are tried: containerd, CRI-O, the containerd of k3s
/// and RKE2, and cri-dockerd.
pub const DEFAULTS: [&str; 4] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/run/cri-dockerd.sock",
];

/// Why no runtime can be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None of the defaults is there.
    #[error(
        "no container runtime has its socket at {}: name it, as in --pods cri:/path/to.sock",
        DEFAULTS.join(", ")
    )]
    NoDefault,
    /// It is not for this user.
    #[error("user {uid} may not use the container runtime at {}: it takes root", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
        /// Whom this runs as.
        uid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("no container runtime answers at {}: is it running, and its socket there?", path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A connection that is being made.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<UnixStream>> + Send>>;

/// Tries `path`, or each of [`DEFAULTS`], and gives what makes connections to it, again and again.
pub fn find(path: Option<&Path>) -> Result<impl FnMut() -> Connecting + Send + use<>, Error> {
    let path = place(path)?;
    connect(&path)?;
    Ok(move || -> Connecting { Box::pin(UnixStream::connect(path.clone())) })
}

/// Connects now, for a process that will not be able to later. What is given first gives that connection,
/// and then fails; what is given second returns when it did.
pub fn once(
    path: Option<&Path>,
) -> Result<(impl FnMut() -> Connecting + Send + use<>, impl Future<Output = ()> + use<>), Error> {
    let path = place(path)?;
    let connected = connect(&path)?;
    // That will be a matter of rights, too.
    connected.set_nonblocking(true).map_err(|source| Error::Silent { path, source })?;
    let mut connected = Some(connected);
    let (spent, is_spent) = oneshot::channel::<()>();
    let mut spent = Some(spent);
    let give = move || -> Connecting {
        let Some(stream) = connected.take() else {
            drop(spent.take());
            return Box::pin(future::ready(Err(io::ErrorKind::NotConnected.into())));
        };
        Box::pin(future::ready(UnixStream::from_std(stream)))
    };
    // It is never sent anything.
    Ok((give, async { drop(is_spent.await) }))
}

fn place(path: Option<&Path>) -> Result<PathBuf, Error> {
    let default = || DEFAULTS.iter().map(PathBuf::from).find(|p| p.exists());
    path.map(Path::to_owned).or_else(default).ok_or(Error::NoDefault)
}

fn connect(path: &Path) -> Result<net::UnixStream, Error> {
    let path = path.to_owned();
    net::UnixStream::connect(&path).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            Error::Forbidden { path, uid: rustix::process::geteuid().as_raw(), source }
        }
        _ => Error::Silent { path, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_none_is_told_with_what_to_look_at() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let shown = path.display();
        let told = |path: &Path| find(Some(path)).err().unwrap().to_string();
        let silent = format!(
            "no container runtime answers at {shown}: is it running, and its socket there?"
        );
        assert_eq!(told(&path), silent);
        // A runtime that has ended leaves its socket behind.
        drop(net::UnixListener::bind(&path).unwrap());
        assert_eq!(told(&path), silent);
    }

    #[tokio::test]
    async fn one_that_is_connected_to_once_says_when_it_is_wanted_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let _listener = net::UnixListener::bind(&path).unwrap();
        let (mut connect, spent) = once(Some(&path)).unwrap();
        let _stream = connect().await.unwrap();
        assert_eq!(connect().await.unwrap_err().kind(), io::ErrorKind::NotConnected);
        spent.await;
    }

    #[test]
    fn a_socket_where_somebody_listens_is_connected_to_again_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let _listener = net::UnixListener::bind(&path).unwrap();
        let mut connect = find(Some(&path)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            connect().await.unwrap();
            connect().await.unwrap();
        });
    }
}
