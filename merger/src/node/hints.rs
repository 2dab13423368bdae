//! What says that something changed in some namespace.

use std::os::fd::BorrowedFd;

use crate::identity::Cookie;

/// Where hints come from.
pub(crate) enum Hints {
    /// The kernel part.
    #[cfg(feature = "ebpf")]
    Kernel(Box<crate::listeners::ebpf::Changes>),
    /// Nowhere: the clock alone calls for a look.
    Clock,
}

// === impl Hints ===

impl Hints {
    /// Readable while there is a hint that was not cleared.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            #[cfg(feature = "ebpf")]
            Self::Kernel(changes) => Some(std::os::fd::AsFd::as_fd(&**changes)),
            Self::Clock => None,
        }
    }

    /// Takes all hints away, and gives the namespaces that they are about. To be called before the
    /// look, so that what happens during it is a hint again.
    pub(crate) fn clear(&mut self) -> Vec<Cookie> {
        match self {
            #[cfg(feature = "ebpf")]
            Self::Kernel(changes) => changes.clear(),
            Self::Clock => vec![],
        }
    }
}
