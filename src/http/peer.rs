//! Where a request comes from: the connection's other end; behind proxies that are named, whom they name, in the one header that
//! they are said to write: `X-Forwarded-For`, or `Forwarded` (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use crate::settings::server::ProxyHeader;

/// The client's address: from the connection back through the proxies, the first that is none of them. A word that is no address
/// ends the search: whoever wrote it is the last that is known.
pub(crate) fn client(connection: IpAddr, headers: &HeaderMap, proxies: &[IpNet], said_in: ProxyHeader) -> IpAddr {
    let is_proxy = |address: &IpAddr| proxies.iter().any(|network| network.contains(&address.to_canonical()));
    if !is_proxy(&connection) {
        return connection;
    }
    let name = match said_in {
        ProxyHeader::XForwardedFor => "x-forwarded-for",
        ProxyHeader::Forwarded => "forwarded",
    };
    let named: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let mut client = connection;
    for list in named.into_iter().rev() {
        let words = match said_in {
            ProxyHeader::XForwardedFor => Some(list.split(|byte| *byte == b',').collect()),
            ProxyHeader::Forwarded => outside_quotes(list, b','),
        };
        let Some(words) = words else { return client };
        for word in words.into_iter().rev() {
            let said = match said_in {
                ProxyHeader::XForwardedFor => std::str::from_utf8(word).ok(),
                ProxyHeader::Forwarded => forwarded_for(word),
            };
            match said.and_then(|said| address(said.trim())) {
                Some(address) => client = address,
                None => return client,
            }
            if !is_proxy(&client) {
                return client;
            }
        }
    }
    client
}

/// The parts between separators that stand in no quoted text. `None` where a quoted text does not end: somebody may have begun one
/// to hide what a proxy added behind it.
fn outside_quotes(list: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let (mut quoted, mut escaped) = (false, false);
    let parts: Vec<&[u8]> = list
        .split(|byte| {
            let was = std::mem::take(&mut escaped);
            match byte {
                b'"' if !was => quoted = !quoted,
                b'\\' if quoted && !was => escaped = true,
                _ => {}
            }
            *byte == separator && !quoted
        })
        .collect();
    (!quoted).then_some(parts)
}

/// What stands behind `for=` in an element of `Forwarded`.
fn forwarded_for(element: &[u8]) -> Option<&str> {
    let pairs = outside_quotes(element, b';')?.into_iter().filter_map(|pair| std::str::from_utf8(pair).ok());
    let (_, value) = pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let value = value.trim();
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn address(word: &str) -> Option<IpAddr> {
    let bare = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
    bare.parse().ok().or_else(|| word.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proxies_that_are_named_say_where_a_request_comes_from() {
        let proxies: Vec<IpNet> = ["10.0.0.0/8", "::1/128"].map(|text| text.parse().expect("a network")).into();
        let found = |connection: &str, name: &'static str, said_in: ProxyHeader, forwarded: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                // `?` stands for a byte that is no text.
                let bytes: Vec<u8> = value.bytes().map(|b| if b == b'?' { 0xe9 } else { b }).collect();
                headers.append(name, HeaderValue::from_bytes(&bytes).expect("a header"));
            }
            client(connection.parse().expect("an address"), &headers, &proxies, said_in).to_string()
        };
        let check = |connection: &str, forwarded: &[&str], expect: &str| {
            let said = found(connection, "x-forwarded-for", ProxyHeader::XForwardedFor, forwarded);
            assert_eq!(said, expect, "{connection} {forwarded:?}");
            // What proxies do not write is anybody's word.
            let other = found(connection, "x-forwarded-for", ProxyHeader::Forwarded, forwarded);
            assert_eq!(other, connection.parse::<IpAddr>().expect("an address").to_string(), "{connection} {forwarded:?}");
        };
        check("192.0.2.1", &["1.1.1.1"], "192.0.2.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["1.1.1.1"], "1.1.1.1");
        check("::1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"], "1.1.1.1");
        check("10.0.0.1", &["6.6.6.6", "1.1.1.1:80, 10.0.0.2"], "1.1.1.1");
        check("10.0.0.1", &["[2001:db8::1]:80"], "2001:db8::1");
        check("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1");
        check("::ffff:10.0.0.1", &["1.1.1.1"], "1.1.1.1");
        check("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check("10.0.0.1", &["?, 1.2.3.4"], "1.2.3.4");
        check("10.0.0.1", &["1.2.3.4, ?"], "10.0.0.1");
        check("10.0.0.1", &["\", 1.1.1.1"], "1.1.1.1");
        let check = |forwarded: &[&str], expect: &str| {
            assert_eq!(found("10.0.0.1", "forwarded", ProxyHeader::Forwarded, forwarded), expect, "{forwarded:?}");
        };
        check(&["for=1.1.1.1"], "1.1.1.1");
        check(&["for=6.6.6.6, For=\"1.1.1.1:4711\";proto=https;by=10.0.0.1, for=10.0.0.2"], "1.1.1.1");
        check(&["for=6.6.6.6", "proto=http; FOR = \"[2001:db8::1]:4711\""], "2001:db8::1");
        check(&["for=6.6.6.6, by=\"a, for=7.7.7.7; \\\", for=8.8.8.8\";for=1.1.1.1"], "1.1.1.1");
        check(&["for=6.6.6.6, for=_hidden, for=10.0.0.2"], "10.0.0.2");
        check(&["for=6.6.6.6, for=unknown"], "10.0.0.1");
        check(&["for=6.6.6.6, proto=https"], "10.0.0.1");
        check(&["1.1.1.1"], "10.0.0.1");
        check(&["for=\"1.1.1.1"], "10.0.0.1");
        check(&["for=6.6.6.6;x=\", for=1.1.1.1"], "10.0.0.1");
        check(&["for=6.6.6.6;x=\"\\\", for=\"1.1.1.1\""], "10.0.0.1");
        check(&["for=6.6.6.6;x=\"", "for=1.1.1.1"], "1.1.1.1");
        check(&["for=?"], "10.0.0.1");
    }
}
