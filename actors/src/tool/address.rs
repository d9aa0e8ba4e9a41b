//! Which addresses a tool may reach: public ones, and what the operator allows besides. Pure; a name is looked up elsewhere,
//! and the connection goes to the very address that was checked here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an operator allows besides public addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    hosts: Vec<String>,
    nets: Vec<(IpAddr, u8)>,
}

impl Allowed {
    /// From a list of host names, addresses and CIDR ranges. The error names the entry.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Allowed, String> {
        let mut allowed = Allowed::default();
        for entry in entries.iter().map(|e| e.as_ref().trim()).filter(|e| !e.is_empty()) {
            let no_range = || format!("`{entry}` is no range of addresses, such as `10.0.0.0/8` or `fd00::/8`");
            match (entry.split_once('/'), entry.parse::<IpAddr>()) {
                (Some((ip, bits)), _) => {
                    let ip: IpAddr = ip.parse().map_err(|_| no_range())?;
                    let most = if ip.is_ipv4() { 32 } else { 128 };
                    let bits = bits.parse::<u8>().ok().filter(|b| *b <= most).ok_or_else(no_range)?;
                    allowed.nets.push((ip, bits));
                }
                (None, Ok(ip)) => allowed.nets.push((ip, if ip.is_ipv4() { 32 } else { 128 })),
                (None, Err(_)) => {
                    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
                    if !entry.chars().all(named) {
                        return Err(format!(
                            "`{entry}` is no host, address or range: write `host.example` without scheme and port"
                        ));
                    }
                    allowed.hosts.push(entry.trim_end_matches('.').to_ascii_lowercase());
                }
            }
        }
        Ok(allowed)
    }

    /// Whether an address may be reached that belongs to a host.
    pub fn permits(&self, host: &str, ip: IpAddr) -> bool {
        let host = host.trim_end_matches('.');
        let ip = plain(ip);
        is_public(ip) || self.hosts.iter().any(|h| h.eq_ignore_ascii_case(host)) || self.nets.iter().any(|net| within(*net, ip))
    }
}

/// An address in its plain form: IPv4 that is written as IPv6 is IPv4.
fn plain(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => embedded(v6).map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// The IPv4 address within a mapped one (`::ffff:0:0/96`), or one of NAT64 (`64:ff9b::/96`).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d] = [12, 13, 14, 15].map(|n| ip.octets()[n]);
    let mapped = ip.to_ipv4_mapped();
    mapped.or_else(|| (ip.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0]).then(|| Ipv4Addr::new(a, b, c, d)))
}

fn within((net, bits): (IpAddr, u8), ip: IpAddr) -> bool {
    let same = |a: u128, b: u128, of: u32| {
        let rest = of - u32::from(bits).min(of);
        rest >= of || a >> rest == b >> rest
    };
    match (net, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

/// Blocks of IPv4 that are not reached over the public network (IANA's special-purpose registry, and multicast).
const SPECIAL_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// The only block of IPv6 that is public, and what of it is not: protocol assignments with Teredo, documentation, 6to4.
const PUBLIC_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => !SPECIAL_V4.iter().any(|(net, bits)| within((IpAddr::V4(*net), *bits), ip)),
        IpAddr::V6(_) => {
            within((IpAddr::V6(PUBLIC_V6.0), PUBLIC_V6.1), ip)
                && !SPECIAL_V6.iter().any(|(net, bits)| within((IpAddr::V6(*net), *bits), ip))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_reached() {
        let rows: [(&[&str], bool); 2] = [
            (&["1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1"], true),
            (
                &[
                    "0.0.0.0",
                    "0.1.2.3",
                    "10.0.0.1",
                    "10.255.255.255",
                    "100.64.0.1",
                    "100.127.255.255",
                    "127.0.0.1",
                    "127.1.2.3",
                    "169.254.169.254",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.0.0.1",
                    "192.0.2.1",
                    "192.88.99.1",
                    "192.168.1.1",
                    "198.18.0.1",
                    "198.19.255.255",
                    "198.51.100.1",
                    "203.0.113.1",
                    "224.0.0.1",
                    "239.255.255.255",
                    "240.0.0.1",
                    "255.255.255.255",
                ],
                false,
            ),
        ];
        let more: [(&[&str], bool); 2] = [
            (&["2606:4700::1111", "2a00:1450::1", "::ffff:1.1.1.1", "64:ff9b::101:101"], true),
            (
                &[
                    "::",
                    "::1",
                    "::ffff:127.0.0.1",
                    "::ffff:10.0.0.1",
                    "::ffff:169.254.169.254",
                    "::127.0.0.1",
                    "64:ff9b::a00:1",
                    "64:ff9b:1::1",
                    "100::1",
                    "2001::1",
                    "2001:20::1",
                    "2001:db8::1",
                    "2002:7f00:1::",
                    "3fff::1",
                    "5f00::1",
                    "fc00::1",
                    "fd00::1",
                    "fe80::1",
                    "fec0::1",
                    "ff02::1",
                ],
                false,
            ),
        ];
        for (addresses, expect) in rows.into_iter().chain(more) {
            for address in addresses {
                let ip: IpAddr = address.parse().expect("an address");
                assert_eq!(Allowed::default().permits("x.example", ip), expect, "{address}");
            }
        }
    }

    #[test]
    fn an_operator_allows_hosts_addresses_and_ranges() {
        let check = |entries: &[&str], host: &str, ip: &str, expect: bool| {
            let allowed = Allowed::parse(entries).expect("a list");
            assert_eq!(allowed.permits(host, ip.parse().expect("an address")), expect, "{entries:?} {host} {ip}");
        };
        check(&["127.0.0.1"], "localhost", "127.0.0.1", true);
        check(&["127.0.0.1"], "localhost", "127.0.0.2", false);
        check(&["127.0.0.0/8"], "localhost", "127.9.9.9", true);
        check(&["127.0.0.0/8"], "localhost", "::ffff:127.0.0.1", true);
        check(&["127.0.0.0/8"], "localhost", "::1", false);
        check(&["10.1.0.0/16", "fd00::/8"], "x", "fd12::1", true);
        check(&["10.1.0.0/16"], "x", "10.2.0.1", false);
        check(&["0.0.0.0/0"], "x", "10.2.0.1", true);
        check(&["api.internal"], "API.internal.", "10.2.0.1", true);
        check(&["api.internal"], "evil.api.internal", "10.2.0.1", false);
        check(&[" ", "::1"], "x", "::1", true);
        for (entry, words) in [
            ("10.0.0.0/33", "no range"),
            ("10.0.0/8", "no range"),
            ("fd00::/129", "no range"),
            ("https://x.example", "no range"),
            ("x.example:80", "without scheme and port"),
        ] {
            let why = Allowed::parse(&[entry]).expect_err(entry);
            assert!(why.contains(words) && why.contains(entry), "{why}");
        }
    }
}
