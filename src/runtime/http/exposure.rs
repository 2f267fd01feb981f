//! Pure: who can reach the server, and what it must have for that.

use std::net::SocketAddr;
use std::path::Path;

use super::TlsFiles;

/// Who can reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// This machine alone.
    Loopback,
    /// Other machines too.
    Network,
}

/// Why the server must not listen there as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} can be reached from other machines, so it needs {missing}; or listen on 127.0.0.1")]
pub struct ExposureError {
    address: SocketAddr,
    missing: &'static str,
}

/// Off loopback the server speaks TLS and asks for a token, or does not start. On loopback both are optional.
pub fn check_exposure(
    address: SocketAddr,
    tls: Option<&TlsFiles>,
    token_file: Option<&Path>,
) -> Result<Exposure, ExposureError> {
    if is_loopback(address) {
        return Ok(Exposure::Loopback);
    }
    let missing = match (tls, token_file) {
        (Some(_), Some(_)) => return Ok(Exposure::Network),
        (None, Some(_)) => "TLS: give --tls-cert and --tls-key",
        (Some(_), None) => "a bearer token: give --token-file, a file with one token a line",
        (None, None) => {
            "TLS and a bearer token: give --tls-cert and --tls-key, and --token-file, a file with one token a line"
        }
    };
    Err(ExposureError { address, missing })
}

/// The same where every caller is reviewed anyway: off loopback the server speaks TLS.
pub fn check_tls(address: SocketAddr, tls: Option<&TlsFiles>) -> Result<Exposure, ExposureError> {
    match tls {
        _ if is_loopback(address) => Ok(Exposure::Loopback),
        Some(_) => Ok(Exposure::Network),
        None => Err(ExposureError { address, missing: "TLS: give --tls-cert and --tls-key" }),
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    // An IPv4 address may come dressed as an IPv6 one.
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn off_loopback_it_takes_a_certificate_and_a_token_and_nothing_less() {
        let tls = TlsFiles { certificate: "tls.crt".into(), key: "tls.key".into() };
        let token = Path::new("tokens");
        for address in ["0.0.0.0:8080", "[::]:8080", "192.168.1.7:443", "[::ffff:10.0.0.1]:80", "[fe80::1]:80"] {
            let address = address.parse().unwrap();
            assert_eq!(check_exposure(address, Some(&tls), Some(token)), Ok(Exposure::Network));
            for (tls, token) in [(None, None), (Some(&tls), None), (None, Some(token))] {
                let message = check_exposure(address, tls, token).unwrap_err().to_string();
                assert!(message.starts_with(&format!("{address} can be reached from other machines")), "{message}");
                assert_eq!(message.contains("--tls-cert"), tls.is_none(), "{message}");
                assert_eq!(message.contains("--token-file"), token.is_none(), "{message}");
                assert!(message.contains("127.0.0.1"), "{message}");
            }
            assert_eq!(check_tls(address, Some(&tls)), Ok(Exposure::Network));
            let message = check_tls(address, None).unwrap_err().to_string();
            assert!(message.contains("--tls-cert") && !message.contains("--token-file"), "{message}");
        }
    }

    #[test]
    fn on_loopback_both_are_optional() {
        for address in ["127.0.0.1:0", "127.8.9.10:1", "[::1]:8080", "[::ffff:127.0.0.1]:80"] {
            let parsed = address.parse().unwrap();
            assert_eq!(check_exposure(parsed, None, None), Ok(Exposure::Loopback), "{address}");
            assert_eq!(check_tls(parsed, None), Ok(Exposure::Loopback), "{address}");
        }
    }
}
