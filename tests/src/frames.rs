//! The far end of a board's cable: frames made by hand, sane and otherwise, and what comes back.

use crate::process::{PATIENCE, free_port};
use dartsync_core::rng::Rng;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Who this end is, to the board.
pub const OURS: [u8; 4] = [10, 0, 2, 2];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ALL: [u8; 6] = [0xff; 6];
/// Whom mDNS is for.
pub const GROUP: [u8; 4] = [224, 0, 0, 251];
const IP: u16 = 0x800;
const ARP: u16 = 0x806;
const ICMP: u8 = 1;
const IGMP: u8 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What carries the frames.
enum Cable {
    /// QEMU sends each as a datagram.
    Datagrams(UdpSocket, SocketAddr),
    /// An interface of the kernel's, beside which this stands.
    Interface(OwnedFd),
}

/// The far end of a board's cable.
pub struct Wire {
    cable: Cable,
    /// The board's address.
    ip: [u8; 4],
    /// Its hardware address, once it was heard.
    board: [u8; 6],
    /// What is random of the frames.
    pub rng: Rng,
}

/// Both ends of a TCP segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// Whom it is from.
    pub from: ([u8; 4], u16),
    /// The board's port.
    pub port: u16,
}

/// A TCP segment's place among the others, and its flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its own number.
    pub seq: u32,
    /// The number that it acknowledges.
    pub ack: u32,
    /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
    pub flags: u8,
}

impl Wire {
    /// A cable to the board of that address, and how QEMU is told of its own end.
    pub fn new(seed: u8, ip: [u8; 4]) -> (Wire, String) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let here = socket.local_addr().expect("a bound socket has an address");
        let told = format!("socket,id=n0,udp={here},localaddr={to}");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a limit can be set");
        let rng = Rng::from_seed([seed; 32]);
        (Wire { cable: Cable::Datagrams(socket, to), ip, board: ALL, rng }, told)
    }
    /// Beside the kernel at an interface whose other end is the board of that address. As root only.
    pub fn beside(seed: u8, ip: [u8; 4], interface: &str) -> Wire {
        let kind = SockType::Raw;
        let fd = socket(AddressFamily::Packet, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
        let fd = fd.expect("root may have one");
        let mut all = getifaddrs().expect("interfaces can be listed");
        let place =
            all.find_map(|i| i.address?.as_link_addr().copied().filter(|_| i.interface_name == interface));
        bind(fd.as_raw_fd(), &place.expect("the interface is there")).expect("root may");
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::milliseconds(200)).expect("a limit can be set");
        Wire { cable: Cable::Interface(fd), ip, board: ALL, rng: Rng::from_seed([seed; 32]) }
    }
    /// The next frame, if one came.
    pub fn waiting(&self, frame: &mut [u8]) -> Option<usize> {
        match &self.cable {
            Cable::Datagrams(socket, _) => {
                let fd = socket.as_raw_fd();
                recv(fd, frame, MsgFlags::MSG_DONTWAIT).ok()
            }
            Cable::Interface(fd) => recv(fd.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT).ok(),
        }
    }
    fn below(&mut self, n: u64) -> usize {
        (self.rng.next_u64() % n) as usize
    }
    /// So many bytes at most, of any value.
    fn junk(&mut self, most: u64) -> Vec<u8> {
        let mut out = vec![0; self.below(most + 1)];
        self.rng.fill(&mut out);
        out
    }
    fn word(&mut self) -> [u8; 2] {
        self.rng.bytes()
    }
    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        // A socket that is full drops a frame, as wires do.
        match &self.cable {
            Cable::Datagrams(socket, to) => drop(socket.send_to(frame, to)),
            Cable::Interface(fd) => drop(send(fd.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT)),
        }
    }
    /// The next frame that came, its length; none within some 200 ms.
    pub fn receive(&self, frame: &mut [u8]) -> Option<usize> {
        match &self.cable {
            Cable::Datagrams(socket, _) => socket.recv(frame).ok(),
            Cable::Interface(fd) => recv(fd.as_raw_fd(), frame, MsgFlags::empty()).ok(),
        }
    }
    fn frame(&self, to: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
        [&to[..], &MAC, &kind.to_be_bytes(), payload].concat()
    }
    /// An IP packet to the board, or to the group of mDNS.
    fn packet(&mut self, protocol: u8, from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let [a, b] = (20 + payload.len() as u16).to_be_bytes();
        let [c, d] = self.word();
        let mut head = [&[0x45, 0, a, b, c, d, 0, 0, 64, protocol, 0, 0][..], &from, &to].concat();
        let sum = checksum(&head);
        head[10..12].copy_from_slice(&sum);
        let mac = if to == GROUP { [1, 0, 0x5e, 0, 0, 0xfb] } else { self.board };
        self.frame(mac, IP, &[&head[..], payload].concat())
    }
    /// A TCP segment to the board, of any numbers and from any port.
    pub fn tcp(&mut self, from: [u8; 4], port: u16, flags: u8, rest: &[u8]) -> Vec<u8> {
        let ends = Ends { from: (from, u16::from_be_bytes(self.word()) | 0x100), port };
        let head = Head { seq: self.rng.next_u64() as u32, ack: self.rng.next_u64() as u32, flags };
        self.segment(ends, head, rest)
    }
    /// A TCP segment to the board.
    pub fn segment(&mut self, ends: Ends, head: Head, rest: &[u8]) -> Vec<u8> {
        let (from, here) = ends.from;
        let mut segment = [&here.to_be_bytes()[..], &ends.port.to_be_bytes()].concat();
        segment.extend(head.seq.to_be_bytes());
        segment.extend(head.ack.to_be_bytes());
        segment.extend([0x50, head.flags, 4, 0, 0, 0, 0, 0]);
        segment.extend(rest);
        let len = (segment.len() as u16).to_be_bytes();
        let sum = checksum(&[&from[..], &self.ip, &[0, TCP], &len, &segment].concat());
        segment[16..18].copy_from_slice(&sum);
        self.packet(TCP, from, self.ip, &segment)
    }
    /// A datagram to the board, or to the group of mDNS; ports: from, to.
    pub fn udp(&mut self, to: [u8; 4], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
        let len = (8 + payload.len() as u16).to_be_bytes();
        let [from, port] = ports.map(u16::to_be_bytes);
        self.packet(UDP, OURS, to, &[&from[..], &port, &len, &[0, 0], payload].concat())
    }
    fn ping(&mut self) -> Vec<u8> {
        let mut echo = vec![8, 0, 0, 0, 0, 7, 0, 1, 5, 5, 5, 5];
        let sum = checksum(&echo);
        echo[2..4].copy_from_slice(&sum);
        self.packet(ICMP, OURS, self.ip, &echo)
    }
    fn arp(&self, operation: u8, from: [u8; 4], to: [u8; 6]) -> Vec<u8> {
        let what = [&[0, 1, 8, 0, 6, 4, 0, operation][..], &MAC, &from, &[0; 6], &self.ip].concat();
        self.frame(to, ARP, &what)
    }
    /// Answers the board where it asks who has an address that `ours` says is at this end.
    pub fn answer_arp(&self, frame: &[u8], ours: impl Fn([u8; 4]) -> bool) {
        let asks = frame.len() >= 42 && frame[12..14] == ARP.to_be_bytes() && frame[21] == 1;
        let whom = |at: usize| *frame[at..].first_chunk::<4>().expect("it is long enough");
        if asks && whom(28) == self.ip && ours(whom(38)) {
            self.send(&self.arp(2, whom(38), self.board));
        }
    }
    /// The board's segment in a frame: the ends as in the answer to it, and its head.
    pub fn segment_of(&self, frame: &[u8]) -> Option<(Ends, Head)> {
        let ours = frame.get(12..14)? == IP.to_be_bytes() && frame[14] == 0x45 && *frame.get(23)? == TCP;
        let tcp = frame.get(34..54).filter(|_| ours && frame[26..30] == self.ip)?;
        let half = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let word = |at: usize| u32::from_be_bytes(*tcp[at..].first_chunk().expect("it is long enough"));
        let to = *frame[30..].first_chunk::<4>()?;
        let head = Head { seq: word(4), ack: word(8), flags: tcp[13] };
        Some((Ends { from: (to, half(2)), port: half(0) }, head))
    }
    /// Any frame that somebody may think of.
    pub fn any(&mut self) -> Vec<u8> {
        let stranger = [10, 0, 2, 3 + self.below(240) as u8];
        let port = if self.below(2) == 0 { 7420 } else { u16::from_be_bytes(self.word()) };
        match self.below(10) {
            // QEMU takes an empty datagram for the cable's end.
            0 => [&[7][..], &self.junk(1600)].concat(),
            1 => {
                let (kind, junk) = (u16::from_be_bytes(self.word()), self.junk(1500));
                self.frame(self.board, kind, &junk)
            }
            2 => {
                let junk = self.junk(60);
                self.frame(ALL, ARP, &junk)
            }
            3 => {
                let protocol = [ICMP, IGMP, TCP, UDP, 200][self.below(5)];
                let junk = self.junk(1400);
                self.packet(protocol, stranger, self.ip, &junk)
            }
            4 => {
                let (to, junk) = ([self.ip, GROUP][self.below(2)], self.junk(600));
                let ports = [[67, 68], [5353, 5353], [53, port]][self.below(3)];
                self.udp(to, ports, &junk)
            }
            5 => {
                let (flags, junk) = (self.word()[0], self.junk(1000));
                self.tcp(stranger, port, flags, &junk)
            }
            6 => self.tcp(stranger, 7420, 2, &[]),
            7 => self.tcp(OURS, 7420, 4, &[]),
            8 => {
                let questions = [&[0, 0, 0, 0, 0, self.below(3) as u8, 0, 1, 0, 0, 0, 0][..], &self.junk(80)];
                let query = questions.concat();
                self.udp(GROUP, [5353, 5353], &query)
            }
            _ => {
                let mut frame = self.ping();
                for _ in 0..1 + self.below(6) {
                    let at = 12 + self.below(frame.len() as u64 - 12);
                    frame[at] = self.word()[0];
                }
                frame.truncate(14 + self.below(60));
                frame
            }
        }
    }
    /// Sends again and again what `ask` makes until a frame comes that `is` the answer; learns the board's address.
    pub fn expect(
        &mut self,
        what: &str,
        ask: impl Fn(&mut Wire) -> Vec<u8>,
        is: impl Fn(&[u8]) -> bool,
    ) -> Vec<u8> {
        let until = Instant::now() + PATIENCE;
        let mut frame = [0; 2048];
        while Instant::now() < until {
            let question = ask(self);
            self.send(&question);
            while let Some(n) = self.receive(&mut frame).filter(|_| Instant::now() < until) {
                let got = &frame[..n];
                if n >= 42 && got[12..14] == ARP.to_be_bytes() && got[28..32] == self.ip {
                    self.board = *got[6..].first_chunk().expect("it is long enough");
                    self.answer_arp(got, |ip| ip == OURS);
                }
                if is(got) {
                    return got.to_vec();
                }
            }
        }
        panic!("{what}: no answer");
    }
    /// It is reached by ARP, ping and TCP.
    pub fn answers(&mut self, when: &str) {
        let kind = |f: &[u8], protocol| f.len() > 34 && f[12..14] == IP.to_be_bytes() && f[23] == protocol;
        let ip = self.ip;
        let arp = |f: &[u8]| f.len() >= 42 && f[12..14] == ARP.to_be_bytes() && f[21] == 2 && f[28..32] == ip;
        self.expect(&format!("ARP, {when}"), |w| w.arp(1, OURS, ALL), arp);
        self.expect(&format!("ping, {when}"), Wire::ping, |f| kind(f, ICMP) && f[26..30] == ip && f[34] == 0);
        let syn = |w: &mut Wire| w.tcp(OURS, 7420, 2, &[]);
        self.expect(&format!("TCP, {when}"), syn, |f| {
            kind(f, TCP) && f[26..30] == ip && f.get(47) == Some(&0x12)
        });
    }
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |b| u32::from(*b)));
    let sum: u32 = words.sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    (!(sum + (sum >> 16)) as u16).to_be_bytes()
}
