//! The addresses of this machine.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// Addresses of the interfaces that are up, those others are likeliest to reach first: what the default route leaves
/// from, then IPv4, then IPv6. No link-local and no loopback ones.
pub fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut all: Vec<IpAddr> = getifaddrs()?
        .filter(|i| {
            i.flags.contains(InterfaceFlags::IFF_UP) && !i.flags.contains(InterfaceFlags::IFF_LOOPBACK)
        })
        .filter_map(|i| i.address)
        .filter_map(|a| {
            let v4 = a.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| a.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .filter(is_reachable)
        .collect();
    let routed = default_source();
    all.sort_by_key(|a| (Some(*a) != routed, a.is_ipv6()));
    all.dedup();
    Ok(all)
}

fn is_reachable(a: &IpAddr) -> bool {
    match a {
        IpAddr::V4(a) => !a.is_link_local() && !a.is_loopback() && !a.is_unspecified(),
        IpAddr::V6(a) => !a.is_unicast_link_local() && !a.is_loopback() && !a.is_unspecified(),
    }
}

/// The source address of the default route. Connecting a datagram socket sends nothing.
fn default_source() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    let documentation = SocketAddr::from(([192, 0, 2, 1], 9));
    socket.connect(documentation).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_others_can_use_are_told() {
        let all = interface_addresses().unwrap();
        assert!(all.iter().all(is_reachable));
        assert!(!is_reachable(&"169.254.1.1".parse().unwrap()) && !is_reachable(&"fe80::1".parse().unwrap()));
        assert!(is_reachable(&"10.1.2.3".parse().unwrap()) && is_reachable(&"fd00::1".parse().unwrap()));
    }
}
