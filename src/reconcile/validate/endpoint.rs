//! Pure decisions: which addresses an endpoint or a webhook may have.
//!
//! The process stands inside a network that its users need not reach: what they name is called with the process's reach, so
//! link-local and metadata addresses are never allowed, and internal ones only where a flag says so. A name is judged as it
//! is written; what the name of an endpoint resolves to is the network policy's to bound, that of a webhook is judged again when
//! it is posted to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an endpoint's host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// An address of the public network, as far as its name tells.
    Public,
    /// Loopback, private, or a name that only resolves inside a cluster.
    Internal,
    /// Link-local, or a cloud's metadata service.
    LinkLocal,
    /// No host that can be read without doubt.
    Unreadable,
}

/// Names of metadata services.
const METADATA_NAMES: [&str; 4] =
    ["metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"];
/// Last labels of names that only resolve inside.
const INTERNAL_SUFFIXES: [&str; 7] = ["localhost", "local", "svc", "internal", "cluster", "lan", "intranet"];

/// What the host of `url` is.
pub fn reach(url: &str) -> Reach {
    host(url).map_or(Reach::Unreadable, |host| reach_of(&host))
}

/// The host of an `http` or `https` URL, in lower case, without brackets, port and final dot.
fn host(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    if authority.contains('@') {
        return None;
    }
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?.0,
        None => authority.split(':').next()?,
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-:".contains(letter);
    (!host.is_empty() && host.chars().all(plain)).then_some(host)
}

/// What an address is.
pub fn reach_of_address(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_of_v4(address),
        IpAddr::V6(address) => reach_of_v6(address),
    }
}

fn reach_of(host: &str) -> Reach {
    if let Ok(address) = host.parse() {
        return reach_of_address(address);
    }
    // Resolvers read `0x7f.1`, `2130706433` and `127.1` as addresses, each in its own way.
    let last = host.rsplit('.').next().unwrap_or_default();
    if host.contains(':') || last.is_empty() || last.starts_with("0x") || last.chars().all(|c| c.is_ascii_digit()) {
        return Reach::Unreadable;
    }
    if METADATA_NAMES.contains(&host) {
        return Reach::LinkLocal;
    }
    // A name of one or two labels may be a Service, found through the search list of the pod's resolver.
    if host.split('.').count() < 3 || INTERNAL_SUFFIXES.contains(&last) { Reach::Internal } else { Reach::Public }
}

fn reach_of_v4(address: Ipv4Addr) -> Reach {
    let [first, second, ..] = address.octets();
    if address.is_link_local() || address.is_broadcast() || address.is_multicast() {
        return Reach::LinkLocal;
    }
    let shared = first == 100 && (64..128).contains(&second);
    if first == 0 || address.is_loopback() || address.is_private() || shared { Reach::Internal } else { Reach::Public }
}

fn reach_of_v6(address: Ipv6Addr) -> Reach {
    let segments = address.segments();
    if let Some(embedded) = embedded_v4(address) {
        return reach_of_v4(embedded);
    }
    let metadata = segments[0] == 0xfd00 && segments[1] == 0x0ec2;
    if address.is_unicast_link_local() || address.is_multicast() || metadata {
        return Reach::LinkLocal;
    }
    let inside = address.is_loopback() || address.is_unspecified() || address.is_unique_local();
    if inside { Reach::Internal } else { Reach::Public }
}

/// The IPv4 address inside one of IPv6: mapped, or translated by NAT64.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let translated = segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let last = u32::from(segments[6]) << 16 | u32::from(segments[7]);
    address.to_ipv4_mapped().or(translated.then(|| Ipv4Addr::from(last)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn each_address_has_its_reach() {
        let table = [
            ("https://vpce-1.kinesis.eu-west-1.vpce.amazonaws.com", Reach::Public),
            ("https://vpce-1.kinesis.eu-west-1.vpce.amazonaws.com.:443/x", Reach::Public),
            ("https://8.8.8.8", Reach::Public),
            ("https://[2600:1f14::1]:443", Reach::Public),
            ("http://localhost:4567", Reach::Internal),
            ("http://LOCALHOST.:4567/", Reach::Internal),
            ("http://127.0.0.1:4567", Reach::Internal),
            ("http://[::1]:4567", Reach::Internal),
            ("http://[::ffff:127.0.0.1]", Reach::Internal),
            ("http://0.0.0.0", Reach::Internal),
            ("http://10.1.2.3", Reach::Internal),
            ("http://100.64.0.1", Reach::Internal),
            ("http://192.168.1.1", Reach::Internal),
            ("http://[fd12::1]", Reach::Internal),
            ("http://kinesis", Reach::Internal),
            ("http://kinesis.shop:4567", Reach::Internal),
            ("http://kinesis.shop.svc", Reach::Internal),
            ("http://kinesis.shop.svc.cluster.local", Reach::Internal),
            ("http://ip-10-0-0-1.ec2.internal", Reach::Internal),
            ("http://169.254.169.254/latest", Reach::LinkLocal),
            ("http://[::ffff:169.254.169.254]", Reach::LinkLocal),
            ("http://[64:ff9b::a9fe:a9fe]", Reach::LinkLocal),
            ("http://[fe80::1]", Reach::LinkLocal),
            ("http://[fd00:ec2::254]", Reach::LinkLocal),
            ("http://metadata.google.internal", Reach::LinkLocal),
            ("http://2852039166", Reach::Unreadable),
            ("http://0xa9fea9fe", Reach::Unreadable),
            ("http://127.1", Reach::Unreadable),
            ("http://user@kinesis.example.com", Reach::Unreadable),
            ("ftp://kinesis.example.com", Reach::Unreadable),
            ("kinesis.example.com", Reach::Unreadable),
            ("http://", Reach::Unreadable),
            ("http://a%2eb.example.com", Reach::Unreadable),
        ];
        for (url, expected) in table {
            assert_eq!(reach(url), expected, "{url}");
        }
    }
}
