//! Where a request comes from: the connection's other end; behind proxies that are named, whom they name (`X-Forwarded-For`).

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

/// The client's address: from the connection back through the proxies, the first that is none of them. A word that is no address
/// ends the search: whoever wrote it is the last that is known.
pub(crate) fn client(connection: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let is_proxy = |address: &IpAddr| proxies.iter().any(|network| network.contains(&address.to_canonical()));
    if !is_proxy(&connection) {
        return connection;
    }
    let named: Vec<&[u8]> = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes).collect();
    let mut client = connection;
    for word in named.iter().rev().flat_map(|list| list.rsplit(|byte| *byte == b',')) {
        match std::str::from_utf8(word).ok().and_then(|word| address(word.trim())) {
            Some(address) => client = address,
            None => break,
        }
        if !is_proxy(&client) {
            break;
        }
    }
    client
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
        let check = |connection: &str, forwarded: &[&str], expect: &str| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                // `?` stands for a byte that is no text.
                let bytes: Vec<u8> = value.bytes().map(|b| if b == b'?' { 0xe9 } else { b }).collect();
                headers.append("x-forwarded-for", HeaderValue::from_bytes(&bytes).expect("a header"));
            }
            let found = client(connection.parse().expect("an address"), &headers, &proxies);
            assert_eq!(found.to_string(), expect, "{connection} {forwarded:?}");
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
    }
}
