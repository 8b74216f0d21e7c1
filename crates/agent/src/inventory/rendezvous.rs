//! What the operator says about where the members of trials that span machines meet on this one.

use heats_domain::resources::Rendezvous;

/// The ports that are kept for it unless the operator says otherwise. Below those that systems give to connections, which start at
/// 32768 on Linux.
pub const PORTS: &str = "29500-29563";

/// What it says is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RendezvousError {
    /// The ports are no range.
    #[error("`{0}` is no range of ports: write for example {PORTS}, or one port")]
    Ports(String),
    /// The address is none.
    #[error("`{0}` is neither a host name nor an IP address at which other machines reach this one")]
    Address(String),
}

/// The rendezvous at `address`, empty where the agent is to find it out, with the ports `FIRST-LAST`.
///
/// # Errors
/// Neither of them may be anything else.
pub fn read(address: &str, ports: &str) -> Result<Rendezvous, RendezvousError> {
    let odd = || RendezvousError::Ports(ports.to_owned());
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0).map(u32::from).ok_or_else(odd);
    let (first_port, last) = (port(first)?, port(last)?);
    let ports = (last + 1).checked_sub(first_port).filter(|count| *count > 0).ok_or_else(odd)?;
    let own = Rendezvous { address: address.to_owned(), first_port, ports };
    if address.is_empty() || own.is_sound() { Ok(own) } else { Err(RendezvousError::Address(address.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_both_its_ends_and_one_port_is_a_range() {
        let ports = |text: &str| read("", text).map(|own| (own.first_port, own.ports));
        assert_eq!((ports(PORTS), ports("7000")), (Ok((29_500, 64)), Ok((7_000, 1))));
        for odd in ["", "0-5", "9-8", "1-65536", "a-b", "1-2-3"] {
            assert_eq!(ports(odd), Err(RendezvousError::Ports(odd.into())));
        }
        assert_eq!(read("a b", PORTS), Err(RendezvousError::Address("a b".into())));
    }
}
