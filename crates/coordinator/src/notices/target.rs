//! Where webhooks may be: coordinators reach into networks on behalf of users, and what is theirs alone is not for everybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses may be posted to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Webhooks {
    /// None.
    Off,
    /// Those of the public internet.
    Public,
    /// All, those of this machine and its network too.
    Any,
}

impl std::str::FromStr for Webhooks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "public" => Ok(Self::Public),
            "any" => Ok(Self::Any),
            other => Err(format!("`{other}` is none of `off`, `public` and `any`")),
        }
    }
}

impl Webhooks {
    /// Whether this address may be posted to.
    pub fn allow(self, address: IpAddr) -> bool {
        match self {
            Self::Off => false,
            Self::Public => is_public(address),
            Self::Any => true,
        }
    }
}

/// Whether an address is one of the public internet, by the registries of special addresses of RFC 6890.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_protocol = (a, b, c) == (192, 0, 0);
    let is_benchmark = a == 198 && (18..20).contains(&b);
    !(a == 0
        || a >= 240
        || v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_documentation()
        || is_shared
        || is_protocol
        || is_benchmark)
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, c, _, _, _, g, h] = v6.segments();
    let low = Ipv4Addr::from((u32::from(g) << 16) | u32::from(h));
    if let Some(v4) = v6.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    match (a, b) {
        // NAT64, and 6to4: what is behind them is an address of version 4.
        (0x64, 0xff9b) => is_public_v4(low),
        (0x2002, _) => is_public_v4(Ipv4Addr::from((u32::from(b) << 16) | u32::from(c))),
        // Documentation, Teredo and other protocols.
        (0x2001, 0xdb8) | (0x2001, 0..0x200) => false,
        // All that is given out.
        (0x2000..0x4000, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_machines_or_a_networks_own_is_not_public_however_it_is_written() {
        for own in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "::127.0.0.1",
            "2001::1",
        ] {
            let address: IpAddr = own.parse().expect("an address");
            assert!(
                !Webhooks::Public.allow(address) && Webhooks::Any.allow(address) && !Webhooks::Off.allow(address),
                "{own}"
            );
        }
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2a00::1"] {
            assert!(Webhooks::Public.allow(public.parse().expect("an address")), "{public}");
        }
    }
}
