//! Effects: looks at what a receiver's name resolves to, and connects to nothing that no user may reach by way of this process:
//! never to link-local addresses and metadata services, to internal ones only where that is allowed.
//!
//! Whatever is judged here is what is connected to: a name cannot resolve to something else in between. Behind a proxy the proxy
//! resolves, and bounds what is reached.

use std::net::SocketAddr;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::reconcile::validate::endpoint::{Reach, reach_of_address};

/// Resolves as the system does, and passes on what is allowed.
#[derive(Debug)]
pub(super) struct GuardedResolver {
    system: DefaultResolver,
    allow_internal: bool,
}

/// The receiver's name resolves to addresses that may not be posted to, and to no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAllowed {
    /// Loopback, private or cluster-internal.
    #[error("its address is loopback, private or cluster-internal, which the flags of the operator do not allow")]
    Internal,
    /// Link-local, or a metadata service.
    #[error("its address is link-local or a metadata service's, which is never allowed")]
    LinkLocal,
}

/// Why the guard refused, where it did.
pub(super) fn refusal(error: &Error) -> Option<NotAllowed> {
    match error {
        Error::Other(cause) => cause.downcast_ref().copied(),
        _ => None,
    }
}

impl GuardedResolver {
    pub(super) fn new(allow_internal: bool) -> Self {
        Self { system: DefaultResolver::default(), allow_internal }
    }

    fn judge(&self, address: SocketAddr) -> Result<SocketAddr, NotAllowed> {
        match reach_of_address(address.ip()) {
            Reach::Public => Ok(address),
            Reach::Internal if self.allow_internal => Ok(address),
            Reach::Internal => Err(NotAllowed::Internal),
            Reach::LinkLocal | Reach::Unreadable => Err(NotAllowed::LinkLocal),
        }
    }

    /// Those that may be connected to; where there is none, why.
    fn allowed(&self, resolved: &[SocketAddr]) -> Result<Vec<SocketAddr>, NotAllowed> {
        let judged: Vec<_> = resolved.iter().map(|address| self.judge(*address)).collect();
        let allowed: Vec<_> = judged.iter().filter_map(|judged| judged.ok()).collect();
        match judged.into_iter().find_map(Result::err) {
            Some(refusal) if allowed.is_empty() => Err(refusal),
            _ => Ok(allowed),
        }
    }
}

impl Resolver for GuardedResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let resolved = self.system.resolve(uri, config, timeout)?;
        // Whoever runs the process chose the proxy.
        if config.proxy().is_some_and(|proxy| proxy.uri() == uri) {
            return Ok(resolved);
        }
        let allowed = self.allowed(&resolved).map_err(|refusal| Error::Other(Box::new(refusal)))?;
        let mut passed = self.empty();
        for address in allowed {
            passed.push(address);
        }
        Ok(passed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_what_is_allowed_is_connected_to() {
        type Passed = Result<&'static [&'static str], NotAllowed>;
        let (outside, inside) = (GuardedResolver::new(false), GuardedResolver::new(true));
        let table: [(&[&str], Passed, Passed); 7] = [
            (&["8.8.8.8:443"], Ok(&["8.8.8.8:443"]), Ok(&["8.8.8.8:443"])),
            (&["10.0.0.1:80"], Err(NotAllowed::Internal), Ok(&["10.0.0.1:80"])),
            (&["[::1]:80"], Err(NotAllowed::Internal), Ok(&["[::1]:80"])),
            (&["10.0.0.1:80", "8.8.8.8:80"], Ok(&["8.8.8.8:80"]), Ok(&["10.0.0.1:80", "8.8.8.8:80"])),
            (&["169.254.169.254:80"], Err(NotAllowed::LinkLocal), Err(NotAllowed::LinkLocal)),
            (&["[::ffff:169.254.169.254]:80"], Err(NotAllowed::LinkLocal), Err(NotAllowed::LinkLocal)),
            (&["[fd00:ec2::254]:80", "127.0.0.1:80"], Err(NotAllowed::LinkLocal), Ok(&["127.0.0.1:80"])),
        ];
        for (resolved, without, with) in table {
            let resolved = addresses(resolved);
            assert_eq!(outside.allowed(&resolved), without.map(addresses), "{resolved:?}");
            assert_eq!(inside.allowed(&resolved), with.map(addresses), "{resolved:?}");
        }
    }
}
