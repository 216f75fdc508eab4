//! This end's address: a fixed one, or what a DHCP server lends.

use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::dhcpv4;
use smoltcp::time::Duration;
use smoltcp::wire::{IpCidr, Ipv4Address, Ipv4Cidr};

/// Where the address comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    /// From a DHCP server, for as long as it lends it.
    Dhcp,
    /// This one.
    Fixed(Place),
}

/// An address and what is near it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The address.
    pub ip: [u8; 4],
    /// How many of its bits all neighbours share; at most 32.
    pub prefix: u8,
    /// Who leads to those that are no neighbours.
    pub gateway: Option<[u8; 4]>,
}

impl Place {
    /// The same, if a machine can have that address; without a gateway that is no neighbour. A stack that believed
    /// what any DHCP server says could be ended by it.
    fn sound(self) -> Option<Place> {
        let single = |ip: Ipv4Address| !ip.is_unspecified() && !ip.is_broadcast() && !ip.is_multicast();
        let ip = Ipv4Address::from(self.ip);
        if self.prefix > 32 || !single(ip) {
            return None;
        }
        let cidr = Ipv4Cidr::new(ip, self.prefix);
        let edge = self.prefix < 31 && (cidr.network().address() == ip || cidr.broadcast() == Some(ip));
        let near = |g: &[u8; 4]| {
            let g = Ipv4Address::from(*g);
            single(g) && g != ip && cidr.contains_addr(&g) && cidr.broadcast() != Some(g)
        };
        (!edge).then_some(Place { gateway: self.gateway.filter(near), ..self })
    }
}

/// After the cable was out, an old address is kept so long until a server confirms it or lends another one.
const HOLD_US: u64 = 10_000_000;

/// The address of an interface.
pub(super) struct Addressing {
    dhcp: Option<SocketHandle>,
    place: Option<Place>,
    /// Until when an address stands that no server has confirmed since the cable was out.
    hold: Option<u64>,
}

impl Addressing {
    /// Panics if a fixed address is none that a machine can have.
    pub(super) fn new(address: Address, iface: &mut Interface, sockets: &mut SocketSet<'_>) -> Self {
        let mut addressing = Addressing { dhcp: None, place: None, hold: None };
        match address {
            Address::Fixed(place) => {
                let place = place.sound().expect("a machine can have the address that was configured");
                addressing.set(Some(place), iface);
            }
            Address::Dhcp => {
                let mut socket = dhcpv4::Socket::new();
                let mut retry = dhcpv4::RetryConfig::default();
                retry.discover_timeout = Duration::from_secs(3);
                retry.initial_request_timeout = Duration::from_secs(2);
                socket.set_retry_config(retry);
                addressing.dhcp = Some(sockets.add(socket));
            }
        }
        addressing
    }
    /// The address, if there is one now.
    pub(super) fn place(&self) -> Option<Place> {
        self.place
    }
    /// The cable is in again: whatever network that is, its server is asked.
    pub(super) fn plugged(&mut self, now: u64, iface: &mut Interface, sockets: &mut SocketSet<'_>) {
        // Who was near may not be any more.
        iface.update_ip_addrs(|_| {});
        if let Some(dhcp) = self.dhcp {
            sockets.get_mut::<dhcpv4::Socket>(dhcp).reset();
            self.hold = self.place.map(|_| now + HOLD_US);
        }
    }
    /// When something is due, whatever comes in; `u64::MAX` = never.
    pub(super) fn due(&self) -> u64 {
        self.hold.unwrap_or(u64::MAX)
    }
    /// Follows the server; true if the address changed.
    pub(super) fn tend(&mut self, now: u64, iface: &mut Interface, sockets: &mut SocketSet<'_>) -> bool {
        let Some(dhcp) = self.dhcp else { return false };
        let socket = sockets.get_mut::<dhcpv4::Socket>(dhcp);
        let lent = match socket.poll() {
            Some(dhcpv4::Event::Configured(lease)) => {
                let (ip, prefix) = (lease.address.address().octets(), lease.address.prefix_len());
                let lent = Place { ip, prefix, gateway: lease.router.map(|r| r.octets()) }.sound();
                if lent.is_none() || lease.server.address.is_unspecified() {
                    socket.reset();
                }
                lent
            }
            Some(dhcpv4::Event::Deconfigured) if self.hold.is_some_and(|t| now < t) => return false,
            None if self.hold.is_none_or(|t| now < t) => return false,
            Some(dhcpv4::Event::Deconfigured) | None => None,
        };
        self.hold = None;
        let changed = lent != self.place;
        if changed {
            self.set(lent, iface);
        }
        changed
    }
    fn set(&mut self, place: Option<Place>, iface: &mut Interface) {
        self.place = place;
        iface.update_ip_addrs(|all| {
            all.clear();
            if let Some(p) = place {
                let cidr = IpCidr::Ipv4(Ipv4Cidr::new(p.ip.into(), p.prefix));
                all.push(cidr).expect("an empty list has room for one");
            }
        });
        iface.routes_mut().remove_default_ipv4_route();
        if let Some(gateway) = place.and_then(|p| p.gateway) {
            let added = iface.routes_mut().add_default_ipv4_route(gateway.into());
            added.expect("an empty list has room for one");
        }
    }
    /// Whether that one is a neighbour.
    pub(super) fn near(&self, ip: Ipv4Address) -> bool {
        self.place.is_some_and(|p| Ipv4Cidr::new(p.ip.into(), p.prefix).contains_addr(&ip))
    }
}
