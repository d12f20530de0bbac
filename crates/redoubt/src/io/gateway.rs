//! The machine's default gateways, out of the kernel's tables of routes.
//!
//! In a container the gateway is the host's end of the network, and clients that came by a published
//! port of the host seem to come from there. Networks come and go while a container runs, so the
//! tables are read again, but at most once a second.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const FRESH_FOR: Duration = Duration::from_secs(1);

static KNOWN: Mutex<Option<(Instant, Vec<IpAddr>)>> = Mutex::new(None);

/// The addresses of the default gateways.
pub fn gateways() -> Vec<IpAddr> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, found)) = known.as_ref()
        && at.elapsed() < FRESH_FOR
    {
        return found.clone();
    }
    // Without /proc there is no gateway to be known.
    let table = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut found = in_ipv4_table(&table("/proc/net/route"));
    found.extend(in_ipv6_table(&table("/proc/net/ipv6_route")));
    *known = Some((Instant::now(), found.clone()));
    found
}

/// `interface destination gateway flags refcount use metric mask …`, numbers as this machine has them
/// in memory.
fn in_ipv4_table(table: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, destination, gateway, _, _, _, _, mask, ..] = words.as_slice() else { return None };
        let number = |word: &str| u32::from_str_radix(word, 16).ok();
        let is_default = number(destination)? == 0 && number(mask)? == 0;
        let gateway = number(gateway).filter(|&gateway| is_default && gateway != 0)?;
        Some(IpAddr::V4(Ipv4Addr::from(gateway.to_ne_bytes())))
    };
    table.lines().skip(1).filter_map(gateway).collect()
}

/// `destination prefix source prefix next-hop …`, all in hexadecimal digits.
fn in_ipv6_table(table: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [destination, prefix, _, _, hop, ..] = words.as_slice() else { return None };
        let number = |word: &str| u128::from_str_radix(word, 16).ok();
        let is_default = number(destination)? == 0 && number(prefix)? == 0;
        let hop = number(hop).filter(|&hop| is_default && hop != 0)?;
        Some(IpAddr::V6(Ipv6Addr::from_bits(hop)))
    };
    table.lines().filter_map(gateway).collect()
}

#[cfg(test)]
mod tests {
    use super::{in_ipv4_table, in_ipv6_table};

    #[test]
    fn the_route_to_everywhere_names_the_gateway() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        if cfg!(target_endian = "little") {
            assert_eq!(in_ipv4_table(table), ["172.18.0.1".parse::<std::net::IpAddr>().unwrap()]);
        }
        let table = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                     fd000000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n\
                     00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                     00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
        assert_eq!(in_ipv6_table(table), ["fd00::1".parse::<std::net::IpAddr>().unwrap()]);
    }

    #[test]
    fn other_texts_name_none() {
        for text in ["", "x\n\n", "a b c d e f g h\n1 2 3 4 5 6 7 8\n", "\nz 0 zz 0 0 0 0 0"] {
            assert!(in_ipv4_table(text).is_empty(), "{text}");
            assert!(in_ipv6_table(text).is_empty(), "{text}");
        }
    }
}
