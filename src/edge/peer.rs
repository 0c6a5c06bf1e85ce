//! Whose address counts: the socket's, unless a trusted proxy says otherwise.

use http::HeaderMap;
use std::net::IpAddr;

/// Networks whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default)]
pub struct Trusted(Vec<(IpAddr, u8)>);

impl Trusted {
    /// # Errors
    /// The entry that is no address or CIDR.
    pub fn parse(entries: &[String]) -> Result<Trusted, String> {
        let one = |entry: &String| {
            let (address, bits) = entry.split_once('/').map_or((&**entry, None), |(a, b)| (a, Some(b)));
            let address: IpAddr = address.trim().parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(most), |b| b.trim().parse().ok())?;
            (bits <= most).then_some((address, bits))
        };
        entries.iter().map(|e| one(e).ok_or_else(|| e.clone())).collect::<Result<_, _>>().map(Trusted)
    }

    fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|(network, bits)| match (network.to_canonical(), address) {
            (IpAddr::V4(n), IpAddr::V4(a)) => same(n.to_bits().into(), a.to_bits().into(), 32, *bits),
            (IpAddr::V6(n), IpAddr::V6(a)) => same(n.to_bits(), a.to_bits(), 128, *bits),
            _ => false,
        })
    }

    /// The client behind the socket: the last address that no trusted proxy added.
    pub fn client(&self, socket: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.covers(socket) {
            return socket;
        }
        let mut client = socket;
        let all: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .collect();
        for hop in all.iter().rev() {
            let Ok(address) = hop.trim().parse() else { return client };
            client = address;
            if !self.covers(address) {
                return client;
            }
        }
        client
    }
}

fn same(network: u128, address: u128, width: u32, bits: u8) -> bool {
    let shift = width - u32::from(bits);
    shift >= 128 || network >> shift == address >> shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
        let trusted = Trusted::parse(&["10.0.0.0/8".into(), "::1".into()]).unwrap();
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-forwarded-for"),
            "6.6.6.6, 203.0.113.7, 10.1.2.3".parse().unwrap(),
        )]);
        let client = |socket: &str| trusted.client(socket.parse().unwrap(), &headers).to_string();
        assert_eq!(
            client("10.9.9.9"),
            "203.0.113.7",
            "what the client itself wrote before it does not count"
        );
        assert_eq!(client("::1"), "203.0.113.7");
        assert_eq!(client("198.51.100.1"), "198.51.100.1");
        assert!(Trusted::parse(&["10.0.0.0/33".into()]).is_err());
        assert!(Trusted::parse(&["proxy.lan".into()]).is_err());
    }
}
