//! Where a node stands in the network: which addresses it has, and which other nodes are the same machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;

/// A machine as the others see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Site {
    /// The same for processes that share a loopback: the start of a system, and the network namespace in it.
    pub(super) stack: String,
    pub(super) addresses: Vec<Address>,
}

/// An address of an interface that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub interface: String,
    pub ip: IpAddr,
    /// Leading bits that it has in common with all addresses of its network.
    pub prefix_bits: u8,
}

impl Site {
    /// This machine. IPv4 comes first; link-local addresses, which need a zone, are left out.
    pub fn of_this_machine() -> Self {
        let start = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
        let mut addresses: Vec<Address> =
            getifaddrs().map_or_else(|_| Vec::new(), |all| all.filter_map(address).collect());
        addresses.sort_by_key(|address| address.ip.is_ipv6());
        Self { stack: format!("{} {}", start.trim(), namespace.display()), addresses }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("{}\n", self.stack);
        for Address { interface, ip, prefix_bits } in &self.addresses {
            text.push_str(&format!("{ip} {prefix_bits} {interface}\n"));
        }
        text.into_bytes()
    }

    /// Ranks of one program understand each other; of anything else nothing is known.
    pub fn decode(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let stack = lines.next().unwrap_or_default().to_owned();
        let addresses = lines.filter_map(|line| {
            let mut fields = line.splitn(3, ' ');
            let (ip, prefix_bits) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            Some(Address { interface: fields.next()?.to_owned(), ip, prefix_bits })
        });
        Self { stack, addresses: addresses.collect() }
    }
}

impl Address {
    /// Whether packets between the two need no router. A network in which both machines have the same address, as the bridges of
    /// containers often do, is each one's own.
    pub fn shares_network_with(&self, other: &Self) -> bool {
        let differing = match (self.ip, other.ip) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            _ => return false,
        };
        self.ip != other.ip && self.prefix_bits > 0 && differing >= u32::from(self.prefix_bits)
    }
}

fn address(found: InterfaceAddress) -> Option<Address> {
    if !found.flags.contains(InterfaceFlags::IFF_UP) {
        return None;
    }
    let (ip, mask) = (found.address?, found.netmask);
    let (ip, prefix_bits) = if let Some(ip) = ip.as_sockaddr_in() {
        let mask = mask.and_then(|mask| Some(mask.as_sockaddr_in()?.ip()));
        (IpAddr::V4(ip.ip()), mask.unwrap_or(Ipv4Addr::BROADCAST).to_bits().leading_ones())
    } else {
        let ip = ip.as_sockaddr_in6()?.ip();
        if ip.is_unicast_link_local() {
            return None;
        }
        let mask = mask.and_then(|mask| Some(mask.as_sockaddr_in6()?.ip()));
        (IpAddr::V6(ip), mask.unwrap_or(Ipv6Addr::from_bits(u128::MAX)).to_bits().leading_ones())
    };
    Some(Address { interface: found.interface_name, ip, prefix_bits: prefix_bits as u8 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ip: &str, prefix_bits: u8) -> Address {
        Address { interface: "eth0".into(), ip: ip.parse().unwrap(), prefix_bits }
    }

    #[test]
    fn networks_are_told_apart() {
        let shares = |a: Address, b: Address| a.shares_network_with(&b);
        assert!(shares(at("10.0.1.5", 16), at("10.0.2.6", 16)));
        assert!(!shares(at("10.0.1.5", 24), at("10.0.2.6", 24)));
        assert!(shares(at("2001:db8::5", 64), at("2001:db8::6", 64)));
        assert!(!shares(at("2001:db8:1::5", 64), at("2001:db8::6", 64)));
        assert!(!shares(at("10.0.1.5", 24), at("2001:db8::6", 64)));
        assert!(!shares(at("172.17.0.1", 16), at("172.17.0.1", 16)), "a bridge that both machines have");
        assert!(!shares(at("10.0.0.5", 32), at("10.0.0.6", 32)));
    }

    #[test]
    fn sites_survive_the_journey() {
        let address = Address { interface: "a b".into(), ..at("10.0.0.5", 24) };
        let site = Site { stack: "start net:[1]".into(), addresses: vec![address, at("2001:db8::5", 64)] };
        assert_eq!(Site::decode(&site.encode()), site);
        for garbage in [&b""[..], b"\n\n", b"x\n10.0.0.1\n", &[0xff, 0xfe]] {
            assert_eq!(Site::decode(garbage).addresses, []);
        }
    }

    #[test]
    fn this_machine_has_a_loopback() {
        let own = Site::of_this_machine();
        let loopback = own.addresses.iter().find(|address| address.ip == IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(loopback.map(|address| address.prefix_bits), Some(8), "{own:?}");
        assert_eq!(own.stack, Site::of_this_machine().stack);
    }
}
