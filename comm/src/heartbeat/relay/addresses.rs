//! Where rank 0 listens, and under which addresses the other nodes may find it.

use std::ffi::CStr;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use nix::libc;

use super::invitation::{Invitation, Key};
use crate::error::CommError;

/// An open socket, and what the others need to know about it.
pub(super) struct Opened {
    pub listener: TcpListener,
    pub invitation: Invitation,
}

/// An address of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    interface: String,
    ip: IpAddr,
}

/// Opens a port that the system chooses: on `interface`, or on all of them.
///
/// # Errors
/// [`CommError::NoInterface`] when there is no such interface with an address. Without a socket or a key the invitation
/// is empty.
pub(super) fn listen(interface: Option<&str>) -> Result<Opened, CommError> {
    let all = all_addresses();
    let chosen = choose(&all, interface)?;
    let first = chosen.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let bound = match (interface, first) {
        (Some(_), ip) => ip,
        (None, IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
        (None, IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let opened = || {
        let key = new_key()?;
        let listener = TcpListener::bind((bound, 0))?;
        let port = listener.local_addr()?.port();
        let addresses = chosen.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        std::io::Result::Ok(Opened { listener, invitation: Invitation { key, addresses } })
    };
    opened().map_err(|error| CommError::NoSocket { reason: error.to_string() })
}

/// Addresses of one family, those that other machines can use first.
fn choose(all: &[Address], interface: Option<&str>) -> Result<Vec<IpAddr>, CommError> {
    if let Some(name) = interface {
        let own = all.iter().find(|address| address.interface == name);
        let Some(own) = own else {
            let mut known: Vec<&str> = all.iter().map(|address| address.interface.as_str()).collect();
            known.sort_unstable();
            known.dedup();
            return Err(CommError::NoInterface { name: name.to_owned(), known: known.join(", ") });
        };
        return Ok(vec![own.ip]);
    }
    let mut ips: Vec<IpAddr> = all.iter().map(|address| address.ip).collect();
    let is_local = |ip: &IpAddr| ip.is_loopback();
    let has_v4 = ips.iter().any(|ip| ip.is_ipv4() && !is_local(ip)) || ips.iter().all(is_local);
    ips.retain(|ip| ip.is_ipv4() == has_v4);
    // The loopback serves nodes that are one machine.
    ips.sort_by_key(is_local);
    Ok(ips)
}

fn new_key() -> std::io::Result<Key> {
    let mut key = Key::default();
    std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

/// All addresses of interfaces that are up, IPv4 first; link-local ones, which need a zone, are left out.
fn all_addresses() -> Vec<Address> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the pointer is to a local.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut next = list;
    // SAFETY: the list is linked by the C library, ends with null, and is freed below only.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        let is_up = entry.ifa_flags & (libc::IFF_UP as libc::c_uint) != 0;
        // SAFETY: the address is null or of the kind that its family says.
        let ip = unsafe { ip_of(entry.ifa_addr) };
        if let (true, Some(ip)) = (is_up, ip) {
            // SAFETY: the C library gives every entry a name that ends with null.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) };
            found.push(Address { interface: name.to_string_lossy().into_owned(), ip });
        }
    }
    // SAFETY: the list came from `getifaddrs`, and nothing in it is used any more.
    unsafe { libc::freeifaddrs(list) };
    found.sort_by_key(|address| address.ip.is_ipv6());
    found
}

/// # Safety
/// `address` is null or points to an address as long as its family says.
unsafe fn ip_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: every address begins with its family.
    let family = libc::c_int::from(unsafe { (*address).sa_family });
    if family == libc::AF_INET {
        // SAFETY: an address of this family; the cast keeps the alignment that the C library gave it.
        let address = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
        return Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into());
    }
    if family == libc::AF_INET6 {
        // SAFETY: as above.
        let address = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
        let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
        return (!ip.is_unicast_link_local()).then_some(ip.into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(interface: &str, ip: &str) -> Address {
        Address { interface: interface.into(), ip: ip.parse().unwrap() }
    }

    fn chosen(all: &[Address], interface: Option<&str>) -> Vec<String> {
        choose(all, interface).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_that_others_can_use_come_first() {
        let all = [
            address("lo", "127.0.0.1"),
            address("eth0", "10.0.0.5"),
            address("ib0", "192.168.1.5"),
            address("eth0", "2001:db8::5"),
        ];
        assert_eq!(chosen(&all, None), ["10.0.0.5", "192.168.1.5", "127.0.0.1"]);
        assert_eq!(chosen(&all, Some("ib0")), ["192.168.1.5"]);
        assert_eq!(chosen(&all[..1], None), ["127.0.0.1"]);
        assert_eq!(chosen(&[all[0].clone(), all[3].clone()], None), ["2001:db8::5"]);
    }

    #[test]
    fn an_interface_that_is_not_there_is_named_with_those_that_are() {
        let all = [address("lo", "127.0.0.1"), address("eth0", "10.0.0.5")];
        let error = choose(&all, Some("eth1")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`comm.interface` is `eth1`, which this machine lacks or which has no address"
        );
        assert!(error.hint().unwrap().contains("eth0, lo"));
    }

    #[test]
    fn this_machine_listens_on_its_loopback() {
        let opened = listen(Some("lo")).unwrap();
        let address = opened.invitation.addresses[0];
        assert!(address.ip().is_loopback() && address.port() != 0);
        std::net::TcpStream::connect(address).unwrap();
    }
}
