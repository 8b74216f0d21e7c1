//! At which address other machines reach this one, as far as its way to the coordinators tells.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};

/// How long names are looked up: nobody waits for an address who could be attached.
const LOOK_UP: Duration = Duration::from_millis(500);

/// The address by which the way to one of `coordinators` leaves this machine; a loopback one where all of them are on it.
pub(super) async fn own_address(coordinators: &[String]) -> Option<IpAddr> {
    let found = async {
        let mut local = None;
        for coordinator in coordinators {
            let Some(own) = towards(coordinator).await else { continue };
            if !own.is_loopback() {
                return Some(own);
            }
            local = Some(own);
        }
        local
    };
    tokio::time::timeout(LOOK_UP, found).await.ok().flatten()
}

async fn towards(coordinator: &str) -> Option<IpAddr> {
    let (_, host) = coordinator.split_once("://").unwrap_or(("", coordinator));
    for peer in lookup_host(host).await.ok()? {
        let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        // Nothing is sent: a datagram socket that is connected has looked its way up, and that is all.
        let Ok(socket) = UdpSocket::bind((any, 0)).await else { continue };
        if socket.connect(peer).await.is_ok()
            && let Ok(own) = socket.local_addr()
        {
            return Some(own.ip());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn own(coordinators: &[&str]) -> Option<IpAddr> {
        own_address(&coordinators.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).await
    }

    #[tokio::test]
    async fn a_machine_that_all_coordinators_are_on_is_reached_from_itself() {
        let local = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(own(&["127.0.0.1:7100"]).await, local);
        assert_eq!(own(&["no address", "http://127.0.0.1:7100"]).await, local, "one that leads nowhere is left out");
        assert_eq!(own(&["no address"]).await, None);
    }
}
