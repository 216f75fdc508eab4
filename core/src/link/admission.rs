//! What strangers may cost: failed Diffie-Hellmans are counted, good ones are given back.

use crate::time::{Duration, Instant};
use crate::wire::message::Addr;
use heapless::Vec;

/// Failures a second in all, and as many at once.
pub const ALL: u32 = 50;
/// Failures a second of one address, and as many at once.
pub const ONE: u32 = 20;
/// Addresses kept apart; a stranger that is not among them takes the place of the one with the least to its charge.
const ADDRESSES: usize = 64;

/// No Diffie-Hellman for this address before that moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait(pub Instant);

/// Counts. A driver asks [`take`](Admission::take) before it accepts a handshake, and says
/// [`give_back`](Admission::give_back) once that link is open: so only failures count, and many devices behind one
/// address do not starve each other.
#[derive(Debug)]
pub struct Admission {
    all: Bucket,
    addresses: Vec<(Source, Bucket), ADDRESSES>,
}

/// Where a dialler is, as far as limits go: IPv6 hosts choose freely within a /64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Source {
    fn of(from: &Addr) -> Source {
        match from {
            Addr::V4(ip, _) => Source::V4(*ip),
            Addr::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d], _) => {
                Source::V4([*a, *b, *c, *d])
            }
            Addr::V6(ip, _) => Source::V6(*ip.first_chunk().expect("16 bytes are at least 8")),
        }
    }
}

impl Admission {
    /// Nothing has failed yet.
    pub fn new() -> Admission {
        Admission { all: Bucket::full(ALL), addresses: Vec::new() }
    }
    /// May a handshake from there be computed now? If so it counts as failed until it is given back.
    pub fn take(&mut self, at: Instant, from: &Addr) -> Result<(), Wait> {
        self.all.refill(at);
        self.all.ready(at)?;
        let bucket = self.bucket(at, Source::of(from));
        bucket.ready(at)?;
        bucket.take();
        self.all.take();
        Ok(())
    }
    /// That handshake ended in an open link.
    pub fn give_back(&mut self, from: &Addr) {
        let source = Source::of(from);
        self.all.put();
        if let Some((_, b)) = self.addresses.iter_mut().find(|(s, _)| *s == source) {
            b.put();
        }
    }

    fn bucket(&mut self, at: Instant, source: Source) -> &mut Bucket {
        self.addresses.iter_mut().for_each(|(_, b)| b.refill(at));
        let i = match self.addresses.iter().position(|(s, _)| *s == source) {
            Some(i) => i,
            None => self.place(at, source),
        };
        &mut self.addresses[i].1
    }
    fn place(&mut self, at: Instant, source: Source) -> usize {
        let new = (source, Bucket { at, ..Bucket::full(ONE) });
        if self.addresses.push(new).is_ok() {
            return self.addresses.len() - 1;
        }
        let least = (0..self.addresses.len()).max_by_key(|i| self.addresses[*i].1.level);
        let i = least.expect("a full list is not empty");
        self.addresses[i] = new;
        i
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self::new()
    }
}

/// Of half-open links, the one that has been so for longest: to be hung up where one more would be too many.
pub fn oldest<T>(half_open: impl IntoIterator<Item = (T, Instant)>) -> Option<T> {
    half_open.into_iter().min_by_key(|(_, since)| *since).map(|(link, _)| link)
}

/// One token in millionths, so that no time is lost in rounding: a rate of r tokens a second is r millionths a µs.
const TOKEN: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: u64,
    rate: u32,
    at: Instant,
}

impl Bucket {
    const fn full(rate: u32) -> Bucket {
        Bucket { level: rate as u64 * TOKEN, rate, at: Instant(0) }
    }
    fn most(&self) -> u64 {
        u64::from(self.rate) * TOKEN
    }
    fn refill(&mut self, at: Instant) {
        let gained = at.since(self.at).0.saturating_mul(self.rate.into());
        self.level = self.level.saturating_add(gained).min(self.most());
        self.at = self.at.max(at);
    }
    fn ready(&self, at: Instant) -> Result<(), Wait> {
        match TOKEN.checked_sub(self.level) {
            None | Some(0) => Ok(()),
            Some(lack) => Err(Wait(at + Duration(lack.div_ceil(self.rate.into())))),
        }
    }
    fn take(&mut self) {
        self.level -= TOKEN;
    }
    fn put(&mut self) {
        self.level = (self.level + TOKEN).min(self.most());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u8) -> Addr {
        Addr::V4([10, 0, 0, n], 1000 + u16::from(n))
    }
    fn second(s: u64) -> Instant {
        Instant(1_000_000 * s)
    }

    #[test]
    fn failures_of_one_address_and_of_all_are_limited() {
        let mut a = Admission::new();
        let now = second(1);
        (0..ONE).for_each(|_| a.take(now, &host(1)).unwrap());
        let Err(Wait(next)) = a.take(now, &host(1)) else { panic!("the 21st") };
        assert!(next > now && next <= now + Duration(TOKEN / u64::from(ONE)));
        assert_eq!(a.take(next, &host(1)), Ok(()));
        let got = (2..200u8).filter(|n| a.take(next, &host(*n)).is_ok()).count();
        assert!((29..=31).contains(&got), "50 in all, 21 spent, a few regained: {got}");
        let late = second(10);
        assert_eq!((0..100).filter(|_| a.take(late, &host(1)).is_ok()).count(), ONE as usize);
    }

    #[test]
    fn what_succeeds_costs_nothing() {
        let mut a = Admission::new();
        for _ in 0..1000 {
            a.take(second(1), &host(1)).unwrap();
            a.give_back(&host(1));
        }
        assert_eq!((0..100).filter(|_| a.take(second(1), &host(1)).is_ok()).count(), ONE as usize);
    }

    #[test]
    fn many_addresses_do_not_push_out_the_one_that_fails() {
        let mut a = Admission::new();
        (0..ONE).for_each(|_| a.take(second(1), &host(1)).unwrap());
        for n in 0..120u8 {
            let from = host(100 + n % 100);
            if a.take(second(1), &from).is_ok() {
                a.give_back(&from);
            }
        }
        assert!(a.take(second(1), &host(1)).is_err());
        let v6 = |last| Addr::V6([0x20, 1, 0, 0, 0, 0, 0, 1, last, 0, 0, 0, 0, 0, 0, last], 1);
        assert_eq!((0..100u8).filter(|n| a.take(second(100), &v6(*n)).is_ok()).count(), ONE as usize);
    }

    #[test]
    fn the_oldest_is_named() {
        assert_eq!(oldest([('a', second(3)), ('b', second(1)), ('c', second(2))]), Some('b'));
        assert_eq!(oldest::<u8>([]), None);
    }
}
