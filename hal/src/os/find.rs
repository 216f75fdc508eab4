//! Asks the local network where a service is: one question by mDNS, answered to the asker alone (RFC 6762, 5.1).

use super::interface_addresses;
use crate::dns::{self, Out, Record, class, kind};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// The question is repeated so often while nobody has answered: datagrams get lost.
const AGAIN: Duration = Duration::from_millis(300);
/// Addresses that are believed at once.
const MOST: usize = 8;

/// Where, on the networks of this machine, there is a service of that kind (`_http`) whose TXT record holds `text`.
/// Returns with the first answer that tells so, at the latest after `wait`; empty if none came. Whoever is on the
/// network can answer anything: who was found has yet to prove who it is.
pub fn find_service(kind: &str, text: &str, wait: Duration) -> Vec<SocketAddr> {
    let own = interface_addresses().unwrap_or_default();
    let own = own.into_iter().filter(IpAddr::is_ipv4);
    // Bound to an address, a socket sends by that address's interface.
    let sockets: Vec<UdpSocket> = own.filter_map(|ip| UdpSocket::bind((ip, 0)).ok()).collect();
    ask(&sockets, (dns::GROUP, dns::PORT).into(), kind, text, wait)
}

fn ask(sockets: &[UdpSocket], to: SocketAddr, kind: &str, text: &str, wait: Duration) -> Vec<SocketAddr> {
    let mut question = [0; 128];
    let Some(len) = question_of(kind, &mut question) else { return Vec::new() };
    let (until, mut next) = (Instant::now() + wait, Instant::now());
    let mut packet = [0; 9000];
    loop {
        let now = Instant::now();
        if now >= until || sockets.is_empty() {
            return Vec::new();
        }
        if now >= next {
            // A network that cannot be reached has no such service.
            sockets.iter().for_each(|s| drop(s.send_to(&question[..len], to)));
            next = now + AGAIN;
        }
        let mut fds: Vec<PollFd<'_>> =
            sockets.iter().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)).collect();
        let left = next.min(until).saturating_duration_since(now) + Duration::from_millis(1);
        let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
        let ready = fds.iter().map(|fd| fd.any() == Some(true)).collect::<Vec<_>>();
        for (socket, _) in sockets.iter().zip(ready).filter(|(_, ready)| *ready) {
            let Ok((n, _)) = socket.recv_from(&mut packet) else { continue };
            let found = places(&packet[..n], kind, text);
            if !found.is_empty() {
                return found;
            }
        }
    }
}

fn question_of(kind: &str, out: &mut [u8]) -> Option<usize> {
    let mut out = Out::new(out);
    [0, 0, 1, 0, 0, 0].into_iter().for_each(|n| out.u16(n));
    out.name(&[kind.as_bytes(), b"_tcp", b"local"]);
    out.u16(kind::PTR);
    out.u16(class::IN);
    out.finish()
}

/// The addresses that an answer gives for services of that kind and text.
fn places(packet: &[u8], kind: &str, text: &str) -> Vec<SocketAddr> {
    let count = |at| dns::u16_at(packet, at).map_or(0, usize::from);
    if packet.get(2).is_none_or(|flags| flags & 0x80 == 0) {
        return Vec::new();
    }
    let all = || dns::records(packet, count(4), count(6) + count(8) + count(10));
    let holds = |r: &Record<'_>| r.kind == kind::TXT && texts(r.data).any(|t| t == text.as_bytes());
    let mut found = Vec::new();
    for (service, host, port) in all().filter_map(|r| r.service().map(|(host, port)| (r.name, host, port))) {
        let ours = matches!(service.labels(), [_, k, t, l] if k.eq_ignore_ascii_case(kind.as_bytes())
            && t.eq_ignore_ascii_case(b"_tcp") && l.eq_ignore_ascii_case(b"local"));
        if !ours || port == 0 || !all().any(|r| holds(&r) && r.name.is(service.labels())) {
            continue;
        }
        for a in all().filter(|r| r.kind == kind::A && r.name.is(host.labels())) {
            let ip = a.data.first_chunk::<4>().map(|ip| Ipv4Addr::from(*ip));
            let place = ip.filter(|ip| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast());
            found.extend(place.map(|ip| SocketAddr::from((ip, port))));
        }
    }
    found.dedup();
    found.truncate(MOST);
    found
}

/// The texts of a TXT record.
fn texts(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (len, more) = rest.split_first()?;
        let (text, more) = more.split_at_checked(usize::from(*len))?;
        rest = more;
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: [&[u8]; 4] = [b"our home 010203", b"_dartsync", b"_tcp", b"local"];
    const HOST: [&[u8]; 2] = [b"dartsync-010203", b"local"];

    fn answer(text: &str, ip: [u8; 4]) -> Vec<u8> {
        let mut bytes = [0; 512];
        let mut out = Out::new(&mut bytes);
        out.header(0, 0, 1, 3);
        out.record(&NAME[1..], kind::PTR, class::IN, 10, |out| out.name(&NAME));
        out.record(&NAME, kind::SRV, class::IN, 10, |out| {
            [0, 0, 7420].into_iter().for_each(|n| out.u16(n));
            out.name(&HOST);
        });
        out.record(&NAME, kind::TXT, class::IN, 10, |out| {
            out.text(b"other=1");
            out.text(text.as_bytes());
        });
        out.record(&HOST, kind::A, class::IN, 10, |out| out.bytes(&ip));
        let n = out.finish().unwrap();
        bytes[..n].to_vec()
    }

    #[test]
    fn the_service_of_that_text_is_found_alone() {
        let at = SocketAddr::from(([10, 0, 0, 9], 7420));
        assert_eq!(places(&answer("id=7", [10, 0, 0, 9]), "_dartsync", "id=7"), [at]);
        assert_eq!(places(&answer("id=7", [10, 0, 0, 9]), "_DartSync", "id=7"), [at]);
        for (text, kind) in [("id=8", "_dartsync"), ("id=7", "_http")] {
            assert_eq!(places(&answer("id=7", [10, 0, 0, 9]), kind, text), []);
        }
        assert_eq!(places(&answer("id=7", [0; 4]), "_dartsync", "id=7"), []);
    }

    #[test]
    fn no_packet_is_believed_that_is_none() {
        let whole = answer("id=7", [10, 0, 0, 9]);
        for n in 0..whole.len() {
            assert_eq!(places(&whole[..n], "_dartsync", "id=7"), []);
        }
        let mut question = whole.clone();
        question[2] = 0;
        assert_eq!(places(&question, "_dartsync", "id=7"), []);
        for i in 0..whole.len() {
            for bit in 0..8 {
                let mut bent = whole.clone();
                bent[i] ^= 1 << bit;
                assert!(places(&bent, "_dartsync", "id=7").len() <= 1);
            }
        }
    }

    #[test]
    fn who_answers_is_heard_and_silence_ends() {
        let host = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = host.local_addr().unwrap();
        let asker = [UdpSocket::bind("127.0.0.1:0").unwrap()];
        let none = ask(&asker, at, "_dartsync", "id=7", Duration::from_millis(20));
        assert_eq!((none, ask(&[], at, "_dartsync", "id=7", Duration::from_secs(60))), (vec![], vec![]));
        let thread = std::thread::spawn(move || {
            let mut packet = [0; 512];
            // One was asked for nothing; to the second comes nonsense first.
            let (n, _) = host.recv_from(&mut packet).unwrap();
            let (m, from) = host.recv_from(&mut packet).unwrap();
            assert_eq!(n, m);
            host.send_to(b"nonsense", from).unwrap();
            host.send_to(&answer("id=7", [10, 0, 0, 9]), from).unwrap();
        });
        let found = ask(&asker, at, "_dartsync", "id=7", Duration::from_secs(60));
        assert_eq!(found, [SocketAddr::from(([10, 0, 0, 9], 7420))]);
        thread.join().unwrap();
    }
}
