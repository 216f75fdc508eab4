//! Boards under QEMU on a wire where anybody sends anything: no frame ends them, and they answer afterwards.

use dartsync_core::rng::Rng;
use dartsync_tests::process::{BOARDS, Device, Dir, Kind, Machine, PATIENCE, free_port, has_qemu};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const FRAMES: u32 = 30_000;
const BOARD: [u8; 4] = [10, 0, 2, 77];
const OURS: [u8; 4] = [10, 0, 2, 2];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ALL: [u8; 6] = [0xff; 6];
const GROUP: [u8; 4] = [224, 0, 0, 251];
const IP: u16 = 0x800;
const ARP: u16 = 0x806;
const ICMP: u8 = 1;
const IGMP: u8 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The other end of a board's cable: QEMU sends each frame as a datagram.
struct Wire {
    socket: UdpSocket,
    to: SocketAddr,
    board: [u8; 6],
    rng: Rng,
}

impl Wire {
    /// Ends of a cable, and how QEMU is told of its own.
    fn new(seed: u8) -> (Wire, String) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let told = format!("socket,id=n0,udp={},localaddr={to}", socket.local_addr().unwrap());
        (Wire { socket, to, board: ALL, rng: Rng::from_seed([seed; 32]) }, told)
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
    fn send(&self, frame: &[u8]) {
        // A socket that is full drops a frame, as wires do.
        let _ = self.socket.send_to(frame, self.to);
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
    fn tcp(&mut self, from: [u8; 4], port: u16, flags: u8, rest: &[u8]) -> Vec<u8> {
        let [a, b] = self.word();
        let [p, q] = port.to_be_bytes();
        let numbers = &self.rng.bytes::<8>();
        let mut segment = [&[a | 1, b, p, q], &numbers[..], &[0x50, flags, 4, 0, 0, 0, 0, 0], rest].concat();
        let len = (segment.len() as u16).to_be_bytes();
        let sum = checksum(&[&from[..], &BOARD, &[0, TCP], &len, &segment].concat());
        segment[16..18].copy_from_slice(&sum);
        self.packet(TCP, from, BOARD, &segment)
    }
    fn udp(&mut self, to: [u8; 4], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
        let len = (8 + payload.len() as u16).to_be_bytes();
        let [from, port] = ports.map(u16::to_be_bytes);
        self.packet(UDP, OURS, to, &[&from[..], &port, &len, &[0, 0], payload].concat())
    }
    fn ping(&mut self) -> Vec<u8> {
        let mut echo = vec![8, 0, 0, 0, 0, 7, 0, 1, 5, 5, 5, 5];
        let sum = checksum(&echo);
        echo[2..4].copy_from_slice(&sum);
        self.packet(ICMP, OURS, BOARD, &echo)
    }
    fn arp(&self, operation: u8, to: [u8; 6]) -> Vec<u8> {
        let what = [&[0, 1, 8, 0, 6, 4, 0, operation][..], &MAC, &OURS, &[0; 6], &BOARD].concat();
        self.frame(to, ARP, &what)
    }
    /// Any frame that somebody may think of.
    fn any(&mut self) -> Vec<u8> {
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
                self.packet(protocol, stranger, BOARD, &junk)
            }
            4 => {
                let (to, junk) = ([BOARD, GROUP][self.below(2)], self.junk(600));
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
    fn expect(&mut self, what: &str, ask: impl Fn(&mut Wire) -> Vec<u8>, is: impl Fn(&[u8]) -> bool) {
        let until = Instant::now() + PATIENCE;
        self.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut frame = [0; 2048];
        while Instant::now() < until {
            let question = ask(self);
            self.send(&question);
            while let Ok(n) = self.socket.recv(&mut frame) {
                let got = &frame[..n];
                if n >= 42 && got[12..14] == ARP.to_be_bytes() && got[28..32] == BOARD {
                    self.board = got[6..12].try_into().unwrap();
                    if got[21] == 1 {
                        self.send(&self.arp(2, self.board));
                    }
                }
                if is(got) {
                    return;
                }
            }
        }
        panic!("{what}: no answer");
    }
    /// It is reached by ARP, ping and TCP.
    fn answers(&mut self, when: &str) {
        let kind = |f: &[u8], protocol| f.len() > 34 && f[12..14] == IP.to_be_bytes() && f[23] == protocol;
        let arp =
            |f: &[u8]| f.len() >= 42 && f[12..14] == ARP.to_be_bytes() && f[21] == 2 && f[28..32] == BOARD;
        self.expect(&format!("ARP, {when}"), |w| w.arp(1, ALL), arp);
        self.expect(&format!("ping, {when}"), Wire::ping, |f| kind(f, ICMP) && f[34] == 0);
        let syn = |w: &mut Wire| w.tcp(OURS, 7420, 2, &[]);
        self.expect(&format!("TCP, {when}"), syn, |f| kind(f, TCP) && f.get(47) == Some(&0x12));
    }
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |b| u32::from(*b)));
    let sum: u32 = words.sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    (!(sum + (sum >> 16)) as u16).to_be_bytes()
}

fn storm(kind: &'static Kind) {
    let dir = Dir::new(&format!("wire-{}", kind.name));
    let founder = Device::new(dir.path(), "founder");
    let mut machine = Machine::new(kind, dir.path(), &founder, &["--ip", "10.0.2.77/24"]);
    let (mut wire, told) = Wire::new(7);
    machine.net = Some(told);
    machine.boot();
    wire.answers("at first");
    for n in 0..FRAMES {
        let frame = wire.any();
        wire.send(&frame);
        if n % 50 == 49 {
            // Not more than it can take in: what is dropped tests nothing.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    wire.answers("after the storm");
    let program = machine.program.as_mut().unwrap();
    assert!(program.runs() && !program.text().contains("FATAL"), "{}", program.text());
}

#[test]
fn no_frame_ends_a_board() {
    BOARDS.iter().filter(|_| has_qemu()).for_each(storm);
}
