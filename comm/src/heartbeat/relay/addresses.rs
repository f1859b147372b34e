//! Where rank 0 listens: under the addresses that the other nodes reach it by, and nowhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use super::invitation::Invitation;
use super::seal::Key;
use super::site::{Address, Site};
use crate::error::CommError;

/// As `comm.interface`: every interface.
const EVERYWHERE: &str = "0.0.0.0";

/// Open sockets, and what the others need to know about them.
pub(crate) struct Opened {
    pub(super) listeners: Vec<TcpListener>,
    pub(super) invitation: Invitation,
}

/// Opens ports that the system chooses: on `interface`, or where the nodes `others` reach this one.
///
/// # Errors
/// [`CommError::NoInterface`] when there is no such interface with an address, [`CommError::NoSocket`] when nobody could
/// call.
pub(super) fn listen(own: &Site, others: &[Site], interface: Option<&str>) -> Result<Opened, CommError> {
    let no_socket = |reason: String| CommError::NoSocket { reason };
    let chosen = match interface {
        Some(EVERYWHERE) => own.addresses.iter().map(|address| address.ip).collect(),
        Some(name) => vec![of_interface(own, name)?],
        None => reachable(own, others, &route_to),
    };
    if chosen.is_empty() {
        return Err(no_socket("no network is common to the nodes (`comm.interface` names one)".into()));
    }
    let opened = || {
        let mut invitation = Invitation { key: Key::fresh()?, addresses: Vec::new() };
        let mut listeners = Vec::new();
        if interface == Some(EVERYWHERE) {
            let has_v6 = chosen.iter().any(IpAddr::is_ipv6);
            let all: IpAddr =
                if has_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            let listener = TcpListener::bind((all, 0))?;
            let port = listener.local_addr()?.port();
            invitation.addresses = chosen.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
            listeners.push(listener);
        } else {
            for ip in chosen {
                let listener = TcpListener::bind((ip, 0))?;
                invitation.addresses.push(listener.local_addr()?);
                listeners.push(listener);
            }
        }
        std::io::Result::Ok(Opened { listeners, invitation })
    };
    opened().map_err(|error| no_socket(error.to_string()))
}

fn of_interface(own: &Site, name: &str) -> Result<IpAddr, CommError> {
    if let Some(address) = own.addresses.iter().find(|address| address.interface == name) {
        return Ok(address.ip);
    }
    let mut known: Vec<&str> = own.addresses.iter().map(|address| address.interface.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    Err(CommError::NoInterface { name: name.to_owned(), known: known.join(", ") })
}

/// The fewest addresses of `own`, in its order, under which all `others` find it: of a network that both are in, else the one from which
/// this machine itself would call the other (`route`).
fn reachable(own: &Site, others: &[Site], route: &dyn Fn(IpAddr) -> Option<IpAddr>) -> Vec<IpAddr> {
    let mut chosen: Vec<&Address> = Vec::new();
    let mut routed: Vec<IpAddr> = Vec::new();
    for other in others {
        let is_shared = |address: &Address| {
            if address.ip.is_loopback() {
                other.stack == own.stack
            } else {
                other.addresses.iter().any(|there| address.shares_network_with(there))
            }
        };
        if chosen.iter().any(|address| is_shared(address)) {
            continue;
        }
        // Nodes that are one machine have no need of a network.
        let by_loopback = own.addresses.iter().find(|address| address.ip.is_loopback() && is_shared(address));
        let direct = by_loopback.or_else(|| own.addresses.iter().find(|address| is_shared(address)));
        match direct {
            Some(address) => chosen.push(address),
            None => {
                let far = other.addresses.iter().map(|there| there.ip).filter(|ip| !ip.is_loopback());
                let from = far.filter_map(route).find(|ip| !ip.is_loopback() && !ip.is_unspecified());
                routed.extend(from.filter(|ip| !routed.contains(ip)));
            }
        }
    }
    let mut ips: Vec<IpAddr> = chosen.into_iter().map(|address| address.ip).collect();
    routed.retain(|ip| !ips.contains(ip));
    ips.extend(routed);
    ips
}

/// The address from which this machine would send to `ip`. Nothing is sent.
fn route_to(ip: IpAddr) -> Option<IpAddr> {
    let from: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect((ip, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(stack: &str, addresses: &[(&str, &str, u8)]) -> Site {
        let addresses = addresses.iter().map(|(interface, ip, prefix_bits)| Address {
            interface: (*interface).into(),
            ip: ip.parse().unwrap(),
            prefix_bits: *prefix_bits,
        });
        Site { stack: stack.into(), addresses: addresses.collect() }
    }

    fn rank_0() -> Site {
        site(
            "a",
            &[
                ("lo", "127.0.0.1", 8),
                ("docker0", "172.17.0.1", 16),
                ("eth0", "10.0.0.5", 24),
                ("ib0", "192.168.1.5", 24),
                ("eth0", "2001:db8::5", 64),
            ],
        )
    }

    fn reached(others: &[Site], route: Option<&str>) -> Vec<String> {
        let route = |_| route.map(|ip| ip.parse().unwrap());
        reachable(&rank_0(), others, &route).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_network_that_the_nodes_share_is_chosen() {
        let ethernet =
            site("b", &[("lo", "127.0.0.1", 8), ("docker0", "172.17.0.1", 16), ("eno1", "10.0.0.6", 24)]);
        let fast = site("c", &[("lo", "127.0.0.1", 8), ("ib0", "192.168.1.7", 24)]);
        let both = site("d", &[("ib0", "192.168.1.8", 24), ("eno1", "10.0.0.8", 24)]);
        let v6 = site("e", &[("eth0", "2001:db8::9", 64)]);
        assert_eq!(reached(std::slice::from_ref(&ethernet), None), ["10.0.0.5"]);
        assert_eq!(reached(std::slice::from_ref(&fast), None), ["192.168.1.5"]);
        assert_eq!(reached(&[fast.clone(), both.clone()], None), ["192.168.1.5"], "one is enough for both");
        assert_eq!(reached(&[ethernet, fast, both], None), ["10.0.0.5", "192.168.1.5"]);
        assert_eq!(reached(&[v6], None), ["2001:db8::5"]);
    }

    #[test]
    fn nodes_of_one_machine_meet_on_its_loopback() {
        assert_eq!(reached(&[rank_0(), rank_0()], None), ["127.0.0.1"]);
        let container = Site { stack: "a, another namespace".into(), ..rank_0() };
        assert_eq!(reached(&[container], None), [""; 0], "its loopback is another one");
    }

    #[test]
    fn behind_a_router_the_way_of_the_system_is_taken() {
        let far = site("b", &[("lo", "127.0.0.1", 8), ("eth0", "10.7.0.5", 24)]);
        assert_eq!(reached(&[far.clone(), far.clone()], Some("10.0.0.5")), ["10.0.0.5"]);
        assert_eq!(reached(std::slice::from_ref(&far), Some("127.0.0.1")), [""; 0]);
        assert_eq!(reached(&[far], None), [""; 0]);
        assert_eq!(route_to("127.0.0.1".parse().unwrap()), Some("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn an_interface_that_is_not_there_is_named_with_those_that_are() {
        let error = of_interface(&rank_0(), "eth1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`comm.interface` is `eth1`, which this machine lacks or which has no address"
        );
        assert!(error.hint().unwrap().contains("docker0, eth0, ib0, lo"));
        assert_eq!(of_interface(&rank_0(), "ib0").unwrap().to_string(), "192.168.1.5");
    }

    #[test]
    fn sockets_are_open_where_they_should_be_and_nowhere_else() {
        let own = Site::of_this_machine();
        let bound = |interface| {
            let opened = listen(&own, std::slice::from_ref(&own), interface).unwrap();
            for address in &opened.invitation.addresses {
                std::net::TcpStream::connect(address).unwrap();
            }
            let ips = opened.listeners.iter().map(|listener| listener.local_addr().unwrap().ip());
            ips.collect::<Vec<IpAddr>>()
        };
        for interface in [None, Some("lo")] {
            let bound = bound(interface);
            assert!(bound.iter().all(IpAddr::is_loopback) && bound.len() == 1, "{bound:?}");
        }
        assert!(bound(Some(EVERYWHERE)).iter().all(IpAddr::is_unspecified), "as it was asked for");
        let error = listen(&own, &[site("elsewhere", &[])], None).err().unwrap();
        assert!(error.to_string().contains("`comm.interface`"), "{error}");
    }
}
