//! The tracker as all that runs on a board: no operating system, no heap, nothing written anywhere. At each start its
//! table is as empty as its roster; the home's devices bring back both (R20).

use crate::card::{Card, CardError, PORT, Trial};
use crate::serve::{self, LINKS, SLOTS, Server, Slot, VISITORS};
use crate::{signpost, start};
use core::convert::Infallible;
use core::marker::PhantomData;
use dartsync_core::rng::Rng;
use dartsync_core::tracker::Tracker;
use dartsync_hal::arch::aarch64::{dma, stack, symbols};
use dartsync_hal::board::{self, Board, BoardClock, BoardConsole, Boot, CONFIG_MAX, Nic, Randomness};
use dartsync_hal::clock::Clock;
use dartsync_hal::console::Console;
use dartsync_hal::net_smoltcp::{Address, Config, Host, Memory, NetSmoltcp, Notice, OTHERS, Place, Service};
use dartsync_hal::once::Once;
use dartsync_hal::storage::{Item, Storage};

/// Where the status page is.
const STATUS: u16 = 80;
/// Its sockets: some for visitors who push out older ones, and while those go.
const CALLERS: usize = VISITORS + 2;
const SOCKETS: usize = LINKS + CALLERS + OTHERS;

static SOCKET_MEMORY: Once<Memory<'static, SOCKETS>> = Once::new();
static CARD: Once<Card> = Once::new();
static MARK: Once<heapless::String<19>> = Once::new();
static TEXTS: Once<[&str; 1]> = Once::new();
static LINK_SLOTS: Once<[Option<Slot>; SLOTS]> = Once::new();
static TRACKER: Once<Tracker<'static>> = Once::new();

/// From the start code on. `handoff`: what the firmware left in the first register.
pub fn main<B: Board>(handoff: usize) -> ! {
    let began = BoardClock.now_us();
    let mut console = BoardConsole::<B>::default();
    let mut file = [0; CONFIG_MAX];
    let Boot { mut board, memory, config } = board::boot::<B>(handoff, &mut file);
    console.say(format_args!("\r\nDartSync tracker {} on {}", env!("CARGO_PKG_VERSION"), B::NAME));
    if !B::UNPROVED.is_empty() {
        console.say(format_args!("never run on a real board: {}", B::UNPROVED));
    }
    let watched = if B::watchdog() { "the hardware's watchdog and the timer" } else { "the timer alone" };
    console.say(format_args!("watched over by {watched}"));
    let card = Card::decode(&file[..config]).unwrap_or_else(|e| refuse::<B>(&mut console, e));
    let randomness = board.randomness();
    console.say(format_args!("randomness: {}", source(randomness)));
    let drawn = match &randomness {
        Randomness::Hardware(bytes) | Randomness::Host(bytes) => Some(bytes),
        Randomness::None => None,
    };
    let rng = Rng::from_seed(card.start_seed(drawn, &BoardClock.now_us().to_le_bytes()));
    let nic = board.nic().unwrap_or_else(|why| board::give_up::<B>(format_args!("{why}")));
    try_out(card.trial);
    let mib = memory.len() >> 20;
    console.say(format_args!(
        "memory: {mib} MiB for the table, {} KiB for the program, of which {} KiB image",
        symbols::all().len() >> 10,
        symbols::image_len() >> 10
    ));
    serve::<B>(console, CARD.put(|| card), rng, nic, memory, began)
}

/// Serves until the power goes.
fn serve<B: Board>(
    mut console: BoardConsole<B>,
    card: &'static Card,
    mut rng: Rng,
    nic: B::Nic,
    memory: &'static mut [u8],
    began: u64,
) -> ! {
    let mac = nic.mac();
    let address = card
        .address
        .map_or(Address::Dhcp, |a| Address::Fixed(Place { ip: a.ip, prefix: a.prefix, gateway: None }));
    let txt = TEXTS.fill(|_| MARK.put(|| signpost::mark(&card.key().public())).as_str());
    let service = Service { kind: signpost::SERVICE, instance: &card.home, txt };
    let (seed, second) = (rng.next_u64(), Some((STATUS, CALLERS)));
    let config = Config { mac, seed, port: PORT, second, address, service: Some(service) };
    console.say(format_args!("adapter: {}", Mac(mac)));
    let host = BoardHost::<B> { console: BoardConsole::default(), began, board: PhantomData };
    let net = NetSmoltcp::new(SOCKET_MEMORY.put(Memory::new), config, nic, host);
    let tracker = TRACKER.put(|| Tracker::new(start::from_card(card, rng.bytes()), memory));
    let slots = LINK_SLOTS.fill(|_| None);
    let board = serve::Board { net, clock: BoardClock, console, storage: Nowhere };
    let mut server = Server::new(board, &mut *tracker, card.key(), rng, slots);
    server.show_status(STATUS, postscript::<B>);
    loop {
        board::alive::<B>();
        if let Err(e) = server.step() {
            board::give_up::<B>(format_args!("the network failed: {e}"));
        }
    }
}

/// What the status page says of the board.
fn postscript<B: Board>(out: &mut dyn core::fmt::Write) -> core::fmt::Result {
    let (used, all) = stack::high_water();
    let (program, image) = (symbols::all().len() >> 10, symbols::image_len() >> 10);
    write!(
        out,
        "<p>{}; the program has {program} KiB, {image} KiB of them image; stack {} of {} KiB; devices {} KiB",
        B::NAME,
        used >> 10,
        all >> 10,
        dma::used() >> 10
    )?;
    if B::UNPROVED.is_empty() { Ok(()) } else { write!(out, "<p>Never run on a real board: {}", B::UNPROVED) }
}

/// Without its card a tracker is nobody: it says so, and rests until the power goes.
fn refuse<B: Board>(console: &mut BoardConsole<B>, why: CardError) -> ! {
    console.say(format_args!("{why}: nothing can be done without it"));
    console.say(format_args!("make the card anew with `dartsync image`; halted"));
    loop {
        board::idle::<B>(u64::MAX);
    }
}

fn source(randomness: Randomness) -> &'static str {
    match randomness {
        Randomness::Hardware(_) => "a generator of the hardware",
        Randomness::Host(_) => "a seed that the host drew for this start",
        Randomness::None => "the configuration's seed and the clock alone: for trying out, not for use",
    }
}

/// Fails on purpose, where the card says so.
fn try_out(trial: Trial) {
    match trial {
        Trial::None => {}
        Trial::Panic => panic!("as the card wished"),
        Trial::Overrun => {
            core::hint::black_box(deeper(0));
        }
        Trial::Stuck => loop {
            core::hint::spin_loop();
        },
    }
}

/// Runs the stack over.
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn deeper(depth: u64) -> u64 {
    let room = core::hint::black_box([depth; 64]);
    deeper(depth + 1) + room[(depth % 64) as usize]
}

/// A hardware address, for people.
struct Mac([u8; 6]);

impl core::fmt::Display for Mac {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What the network asks of the board.
struct BoardHost<B> {
    console: BoardConsole<B>,
    /// When the program began, µs.
    began: u64,
    board: PhantomData<B>,
}

impl<B: Board> Clock for BoardHost<B> {
    fn now_us(&self) -> u64 {
        BoardClock.now_us()
    }
    fn wall_us(&self) -> u64 {
        BoardClock.wall_us()
    }
}

impl<B: Board> Host for BoardHost<B> {
    fn sleep(&mut self, until_us: u64) {
        board::idle::<B>(until_us);
    }
    fn carrier(&mut self) -> bool {
        B::carrier()
    }
    fn notice(&mut self, notice: Notice) {
        let up = (self.now_us() - self.began) / 1000;
        match notice {
            Notice::Up => self.console.say(format_args!("cable: in")),
            Notice::Down => self.console.say(format_args!("cable: out")),
            Notice::NoAddress => self.console.say(format_args!("address lost")),
            Notice::Address(Place { ip, prefix, .. }) => {
                let ip = core::net::Ipv4Addr::from(ip);
                let (used, all) = stack::high_water();
                self.console.say(format_args!("address {ip}/{prefix}"));
                self.console.say(format_args!(
                    "listening on {ip}:{PORT}, {up} ms after the start; stack {} of {} KiB, {} KiB for devices",
                    used >> 10,
                    all >> 10,
                    dma::used() >> 10
                ));
            }
        }
    }
}

/// Storage where nothing is kept: the identity comes from the card, the roster from the devices.
struct Nowhere;

impl Storage for Nowhere {
    type Error = Infallible;

    fn load(&mut self, _: Item, _: &mut [u8]) -> Result<Option<usize>, Infallible> {
        Ok(None)
    }
    fn save(&mut self, _: Item, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
}
