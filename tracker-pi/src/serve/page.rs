//! The status page: plain HTTP at a port of its own, read only. A few visitors at a time, each for ten seconds at most;
//! one page is on its way at once, the others wait for its buffer. Newer visitors push the oldest out.

use core::fmt::{self, Write as _};
use dartsync_core::time::{Duration, Instant};
use dartsync_hal::net::{LinkKey, Net, NetError};
use embedded_io::{Read, Write as _};
use heapless::String;

/// Visitors at once; a network that has the page needs room for so many links more.
pub const VISITORS: usize = 4;

/// The longest page.
const PAGE: usize = 24 * 1024;
/// The longest wish that is heard out.
const WISH: usize = 2048;
/// The part of a wish that is looked at.
const START: usize = 16;
const PATIENCE: Duration = Duration::secs(10);

/// The page and who is looking at it.
pub struct Pages {
    port: u16,
    visitors: [Option<Visitor>; VISITORS],
    page: String<PAGE>,
    /// Whose the page is, and where its rest begins.
    sending: Option<(LinkKey, usize)>,
}

struct Visitor {
    key: LinkKey,
    since: Instant,
    wish: Wish,
}

/// A wish as it comes in.
struct Wish {
    start: [u8; START],
    len: usize,
    /// Bytes of its end (`\r\n\r\n`, or without `\r`) that have come: ends of lines in a row.
    ends: u8,
}

impl Wish {
    const NONE: Wish = Wish { start: [0; START], len: 0, ends: 0 };

    /// Takes bytes; true once it is whole.
    fn take(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            if let Some(place) = self.start.get_mut(self.len) {
                *place = *byte;
            }
            self.len += 1;
            self.ends = match byte {
                b'\n' => self.ends + 1,
                b'\r' => self.ends,
                _ => 0,
            };
            if self.ends == 2 {
                return true;
            }
        }
        false
    }
    fn is_whole(&self) -> bool {
        self.ends == 2
    }
    /// The answer's first line.
    fn verdict(&self) -> &'static str {
        match &self.start {
            s if s.starts_with(b"GET / ") => OK,
            s if s.starts_with(b"GET ") => "404 Not Found",
            _ => "405 Method Not Allowed",
        }
    }
}

const OK: &str = "200 OK";

impl Pages {
    /// A page at that port.
    pub fn new(port: u16) -> Pages {
        Pages { port, visitors: [const { None }; VISITORS], page: String::new(), sending: None }
    }
    /// Whether a link that came in at that port is a visitor's.
    pub fn are_at(&self, port: u16) -> bool {
        self.port == port
    }
    /// Whether it is a visitor's link.
    pub fn have(&self, key: LinkKey) -> bool {
        self.visitors.iter().flatten().any(|v| v.key == key)
    }
    /// When [`tend`](Pages::tend) is due though nothing happens.
    pub fn due(&self) -> Option<Instant> {
        self.visitors.iter().flatten().map(|v| v.since + PATIENCE).min()
    }
    /// A visitor came.
    pub fn open<N: Net>(&mut self, net: &mut N, now: Instant, key: LinkKey) {
        if self.visitors.iter().all(Option::is_some) {
            let oldest = self.visitors.iter().flatten().min_by_key(|v| v.since).map(|v| v.key);
            self.close(net, oldest.expect("there are some"));
        }
        let place = self.visitors.iter_mut().find(|v| v.is_none()).expect("room was made");
        *place = Some(Visitor { key, since: now, wish: Wish::NONE });
    }
    /// A visitor's link has something to read.
    pub fn readable<N: Net>(&mut self, net: &mut N, key: LinkKey) {
        let Some(visitor) = self.visitors.iter_mut().flatten().find(|v| v.key == key) else { return };
        let mut bytes = [0; 512];
        let got = net.link(key).ok_or(NetError::Closed).and_then(|mut link| link.read(&mut bytes));
        let goes_on = match got {
            Ok(0) => false,
            Ok(n) => visitor.wish.take(&bytes[..n]) || visitor.wish.len < WISH,
            Err(e) => e == NetError::NotReady,
        };
        if !goes_on {
            self.close(net, key);
        } else if visitor.wish.is_whole() {
            net.set_interest(key, false, false);
        }
    }
    /// A visitor goes.
    pub fn close<N: Net>(&mut self, net: &mut N, key: LinkKey) {
        net.close(key);
        self.sending = self.sending.filter(|(whose, _)| *whose != key);
        self.visitors.iter_mut().filter(|v| v.as_ref().is_some_and(|v| v.key == key)).for_each(|v| *v = None);
    }
    /// Goes on with all of them; `write` writes the page.
    pub fn tend<N: Net>(
        &mut self,
        net: &mut N,
        now: Instant,
        mut write: impl FnMut(&mut dyn fmt::Write) -> fmt::Result,
    ) {
        while let Some(late) = self.visitors.iter().flatten().find(|v| v.since + PATIENCE <= now) {
            self.close(net, late.key);
        }
        loop {
            let Some((key, at)) = self.sending.or_else(|| self.next(&mut write)) else { return };
            let rest = &self.page.as_bytes()[at..];
            let sent = net.link(key).ok_or(NetError::Closed).and_then(|mut link| link.write(rest));
            match sent {
                Ok(n) if n < rest.len() => self.sending = Some((key, at + n)),
                Err(NetError::NotReady) => {
                    self.sending = Some((key, at));
                    return net.set_interest(key, false, true);
                }
                _ => self.close(net, key),
            }
        }
    }
    /// Makes the page for the visitor who has waited longest.
    fn next(
        &mut self,
        write: &mut impl FnMut(&mut dyn fmt::Write) -> fmt::Result,
    ) -> Option<(LinkKey, usize)> {
        let waiting = self.visitors.iter().flatten().filter(|v| v.wish.is_whole());
        let visitor = waiting.min_by_key(|v| v.since)?;
        let verdict = visitor.wish.verdict();
        self.page.clear();
        let head = write!(
            self.page,
            "HTTP/1.1 {verdict}\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n\
             Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\nConnection: close\r\n\r\n"
        );
        head.expect("a page has room for its head");
        // A page that is too long ends where the room does; a browser shows what there is.
        let _ = if verdict == OK { write(&mut self.page) } else { writeln!(self.page, "{verdict}") };
        Some((visitor.key, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_heard_in_any_pieces() {
        let cases = [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", OK),
            ("GET / HTTP/1.0\n\n", OK),
            ("GET /etc/passwd HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("GET /../ HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("POST / HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            ("\r\n\r\n", "405 Method Not Allowed"),
            ("DART\x01\x01\x01 \n\n", "405 Method Not Allowed"),
        ];
        for (text, verdict) in cases {
            for piece in [1, 2, 7, 1000] {
                let mut wish = Wish::NONE;
                let whole: usize = text.as_bytes().chunks(piece).map(|p| usize::from(wish.take(p))).sum();
                assert_eq!((whole, wish.is_whole(), wish.verdict()), (1, true, verdict), "{text:?} {piece}");
            }
        }
        let mut wish = Wish::NONE;
        assert!(!wish.take(b"GET / HTTP/1.1\r\nHost: x\r\n"));
    }
}
