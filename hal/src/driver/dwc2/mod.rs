//! The DesignWare USB 2.0 controller (DWC2) as a host, with its own DMA.
//!
//! Three of its channels are used: one for control transfers, one that always listens to a bulk endpoint, one for
//! sending. Only the second raises the interrupt. What is sent goes packet by packet; what comes is a whole transfer.
//! No split transactions. Ran under QEMU alone so far, never on a board.

mod channel;
mod regs;

use super::regs::{Dma, Registers};
use super::usb::{Endpoint, HEARD_MAX, Host, Port, Request, Speed, Target, UsbError};
use crate::clock::Clock;
use channel::{Channel, Rest, Transfer};
use regs::*;

const CONTROL: usize = 0;
const LISTEN: usize = 1;
const SEND: usize = 2;

/// Where things lie in the memory that the controller sees.
const AT_CONTROL: usize = 0;
const AT_SEND: usize = 512;
const AT_HEARD: [usize; 2] = [AT_SEND + HEARD_MAX, AT_SEND + 2 * HEARD_MAX];
/// Bytes of memory that the controller asks for.
pub const MEMORY: usize = AT_SEND + 3 * HEARD_MAX;

/// Words of the controller's FIFOs: received, sent, sent at fixed times. It has 4,080 in all.
const FIFO_WORDS: [u32; 3] = [1024, 1024, 1024];

/// A forced mode is in force after so long.
const FORCED_US: u64 = 25_000;
const STEP_PATIENCE_US: u64 = 100_000;
const STAGE_PATIENCE_US: u64 = 300_000;
const SEND_PATIENCE_US: u64 = 20_000;
const STOP_PATIENCE_US: u64 = 2_000;
/// Transfers that fail on the wire are tried so often.
const TRIES: u32 = 3;
/// As long as this a channel that fails to listen is tried again before the device counts as broken.
const LISTEN_TRIES: u32 = 10;

/// The controller. `D` is at least [`MEMORY`] bytes.
#[derive(Debug)]
pub struct Dwc2<R, D, C> {
    regs: R,
    memory: D,
    clock: C,
    speed: Speed,
    listening: Option<Listening>,
    /// The next packet to send asks first whether there is room.
    ping: bool,
}

#[derive(Clone, Copy, Debug)]
struct Listening {
    to: Endpoint,
    pid: u32,
    /// Which of the two buffers it fills.
    buffer: usize,
    /// How often in a row it failed.
    failed: u32,
}

impl<R: Registers, D: Dma, C: Clock> Dwc2<R, D, C> {
    /// The controller with these registers and this memory.
    pub fn new(regs: R, memory: D, clock: C) -> Self {
        assert!(memory.len() >= MEMORY && memory.bus(0).is_multiple_of(4));
        Dwc2 { regs, memory, clock, speed: Speed::High, listening: None, ping: false }
    }

    fn wait_for(&self, at: usize, mask: u32, value: u32) -> Result<(), UsbError> {
        let until = self.now_us() + STEP_PATIENCE_US;
        while self.regs.read(at) & mask != value {
            if self.now_us() >= until {
                return Err(UsbError::NoController);
            }
        }
        Ok(())
    }

    /// Resets the core and waits until it has done so.
    fn reset_core(&self) -> Result<(), UsbError> {
        self.wait_for(GRSTCTL, GRSTCTL_IDLE, GRSTCTL_IDLE)?;
        self.regs.modify(GRSTCTL, |v| v | GRSTCTL_CORE);
        self.wait_for(GRSTCTL, GRSTCTL_CORE, 0)?;
        self.wait_us(100_000);
        Ok(())
    }

    fn set_fifos(&self) -> Result<(), UsbError> {
        let [received, sent, timed] = FIFO_WORDS;
        self.regs.write(GRXFSIZ, received);
        self.regs.write(GNPTXFSIZ, sent << 16 | received);
        self.regs.write(HPTXFSIZ, timed << 16 | (received + sent));
        self.regs.write(GRSTCTL, GRSTCTL_TX | GRSTCTL_TX_ALL);
        self.wait_for(GRSTCTL, GRSTCTL_TX, 0)?;
        self.regs.write(GRSTCTL, GRSTCTL_RX);
        self.wait_for(GRSTCTL, GRSTCTL_RX, 0)
    }

    /// Changes the root port without clearing what a written 1 would clear, except `clear`.
    fn modify_port(&self, set: u32, unset: u32, clear: u32) {
        self.regs.modify(HPRT0, |v| v & !HPRT0_CLEARING & !unset | set | clear);
    }

    /// Carries one transfer over a channel and waits for its end.
    fn carry(&self, number: usize, transfer: &Transfer, patience_us: u64) -> Result<Rest, UsbError> {
        let until = self.now_us() + patience_us;
        let channel = Channel::new(&self.regs, number);
        for _ in 0..TRIES {
            channel.arm(transfer);
            let rest = loop {
                if let Some(rest) = channel.rest() {
                    break rest;
                }
                if self.now_us() >= until {
                    self.halt(number);
                    return Err(UsbError::Timeout);
                }
            };
            match rest {
                Rest::Done { .. } => return Ok(rest),
                Rest::Failed(why) => return Err(why),
                Rest::Again { .. } => {}
            }
        }
        Err(UsbError::Broken)
    }

    /// Brings a channel to rest.
    fn halt(&self, number: usize) {
        let channel = Channel::new(&self.regs, number);
        if channel.is_armed() {
            channel.stop();
            let until = self.now_us() + STOP_PATIENCE_US;
            while channel.rest().is_none() && self.now_us() < until {}
        }
        channel.clear();
    }

    /// One packet of a control transfer, from or to the memory's start; gives the bytes carried.
    fn stage(&self, to: Target, pid: u32, is_in: bool, len: usize) -> Result<usize, UsbError> {
        let transfer = Transfer {
            address: to.address,
            endpoint: 0,
            packet: to.packet.into(),
            speed: to.speed,
            bulk: false,
            is_in,
            pid,
            len: if is_in { to.packet.into() } else { len },
            bus: self.memory.bus(AT_CONTROL),
            ping: false,
        };
        match self.carry(CONTROL, &transfer, STAGE_PATIENCE_US)? {
            Rest::Done { left, .. } if is_in => transfer.len.checked_sub(left).ok_or(UsbError::Odd),
            _ => Ok(len),
        }
    }

    fn setup(&mut self, to: Target, request: Request, length: usize) -> Result<(), UsbError> {
        debug_assert!(to.packet >= 8 && to.packet <= 64);
        self.memory.store(AT_CONTROL, &request.bytes(length));
        self.stage(to, PID_SETUP, false, 8).map(drop)
    }

    /// Starts to listen, or goes on, with a buffer.
    fn arm_listening(&self, l: &Listening) {
        let packet = usize::from(l.to.packet);
        let transfer = Transfer {
            address: l.to.address,
            endpoint: l.to.number,
            packet: l.to.packet,
            speed: self.speed,
            bulk: true,
            is_in: true,
            pid: l.pid,
            len: HEARD_MAX / packet * packet,
            bus: self.memory.bus(AT_HEARD[l.buffer]),
            ping: false,
        };
        Channel::new(&self.regs, LISTEN).arm(&transfer);
    }
}

fn other(pid: u32) -> u32 {
    if pid == PID_DATA0 { PID_DATA1 } else { PID_DATA0 }
}

impl<R: Registers, D: Dma, C: Clock> Host for Dwc2<R, D, C> {
    fn start(&mut self) -> Result<(), UsbError> {
        if self.regs.read(GSNPSID) >> 16 != SNPSID {
            return Err(UsbError::NoController);
        }
        self.listening = None;
        self.regs.write(GAHBCFG, 0);
        self.regs.modify(GUSBCFG, |v| v & !(GUSBCFG_ULPI_VBUS | GUSBCFG_TERM_SEL));
        self.reset_core()?;
        let unwanted = GUSBCFG_PHY_16_BIT | GUSBCFG_PHY_ULPI | GUSBCFG_SRP_HNP;
        self.regs.modify(GUSBCFG, |v| v & !unwanted | GUSBCFG_FORCE_HOST);
        self.wait_us(FORCED_US);
        self.regs.write(GAHBCFG, GAHBCFG_DMA | GAHBCFG_AXI_WAIT);
        self.regs.write(PCGCTL, 0);
        self.regs.modify(HCFG, |v| v & !HCFG_CLOCK);
        self.set_fifos()?;
        for number in [CONTROL, LISTEN, SEND] {
            self.halt(number);
        }
        Channel::new(&self.regs, LISTEN).unmask();
        self.regs.write(HAINTMSK, 1 << LISTEN);
        self.regs.write(GINTMSK, GINT_CHANNELS);
        self.modify_port(HPRT0_POWER, 0, 0);
        self.regs.modify(GAHBCFG, |v| v | GAHBCFG_INTERRUPTS);
        Ok(())
    }

    fn port(&mut self) -> Port {
        let port = self.regs.read(HPRT0);
        let is = |bit: u32| port & bit != 0;
        match (is(HPRT0_CONNECTED), is(HPRT0_ENABLED) && !is(HPRT0_CONNECT_DETECTED)) {
            (false, _) => Port::Empty,
            (true, false) => Port::New,
            (true, true) => Port::Same,
        }
    }

    fn reset_port(&mut self) -> Result<Speed, UsbError> {
        self.unlisten();
        self.modify_port(HPRT0_RESET, 0, 0);
        self.wait_us(50_000);
        self.modify_port(0, HPRT0_RESET, 0);
        self.wait_us(20_000);
        self.modify_port(0, 0, HPRT0_CONNECT_DETECTED | HPRT0_ENABLE_CHANGED | HPRT0_OVERCURRENT_CHANGED);
        let port = self.regs.read(HPRT0);
        if port & HPRT0_CONNECTED == 0 || port & HPRT0_ENABLED == 0 {
            return Err(UsbError::Gone);
        }
        self.speed = match port >> HPRT0_SPEED_SHIFT & 3 {
            0 => Speed::High,
            1 => Speed::Full,
            _ => Speed::Low,
        };
        Ok(self.speed)
    }

    fn control_in(&mut self, to: Target, request: Request, into: &mut [u8]) -> Result<usize, UsbError> {
        self.setup(to, request, into.len())?;
        let (mut at, mut pid) = (0, PID_DATA1);
        while at < into.len() {
            let got = self.stage(to, pid, true, 0)?;
            let kept = got.min(into.len() - at);
            self.memory.load(AT_CONTROL, &mut into[at..at + kept]);
            (at, pid) = (at + kept, other(pid));
            if got < to.packet.into() {
                break;
            }
        }
        self.stage(to, PID_DATA1, false, 0)?;
        Ok(at)
    }

    fn control_out(&mut self, to: Target, request: Request, data: &[u8]) -> Result<(), UsbError> {
        self.setup(to, request, data.len())?;
        let mut pid = PID_DATA1;
        for piece in data.chunks(to.packet.into()) {
            self.memory.store(AT_CONTROL, piece);
            self.stage(to, pid, false, piece.len())?;
            pid = other(pid);
        }
        self.stage(to, PID_DATA1, true, 0).map(drop)
    }

    fn listen(&mut self, to: Endpoint) {
        self.unlisten();
        let l = Listening { to, pid: PID_DATA0, buffer: 0, failed: 0 };
        self.arm_listening(&l);
        self.listening = Some(l);
    }

    fn unlisten(&mut self) {
        self.listening = None;
        self.halt(LISTEN);
    }

    fn heard(&mut self, into: &mut [u8; HEARD_MAX]) -> Result<Option<usize>, UsbError> {
        let channel = Channel::new(&self.regs, LISTEN);
        let Some(rest) = channel.rest() else { return Ok(None) };
        let Some(mut l) = self.listening else {
            channel.clear(); // a channel may still carry something after it was stopped
            return Ok(None);
        };
        let (filled, mut heard) = (l.buffer, None);
        match rest {
            Rest::Done { left, pid, .. } => {
                let packet = usize::from(l.to.packet);
                let got = (HEARD_MAX / packet * packet).checked_sub(left).ok_or(UsbError::Odd)?;
                l = Listening { pid, buffer: 1 - l.buffer, failed: 0, ..l };
                heard = Some(got).filter(|n| *n > 0);
            }
            Rest::Again { pid } if l.failed < LISTEN_TRIES => {
                l = Listening { pid, failed: l.failed + 1, ..l }
            }
            Rest::Again { .. } => return self.deaf(UsbError::Broken),
            Rest::Failed(why) => return self.deaf(why),
        }
        // The other buffer is filled while this one is read.
        self.arm_listening(&l);
        self.listening = Some(l);
        if let Some(n) = heard {
            self.memory.load(AT_HEARD[filled], &mut into[..n]);
        }
        Ok(heard)
    }

    fn send(&mut self, to: Endpoint, toggle: &mut bool, data: &[u8]) -> Result<(), UsbError> {
        assert!(data.len() <= HEARD_MAX && to.packet.is_multiple_of(4));
        let packet = usize::from(to.packet);
        self.memory.store(AT_SEND, data);
        // One more than the full ones: a short one, or an empty one.
        for n in 0..=data.len() / packet {
            let from = n * packet;
            let transfer = Transfer {
                address: to.address,
                endpoint: to.number,
                packet: to.packet,
                speed: self.speed,
                bulk: true,
                is_in: false,
                pid: if *toggle { PID_DATA1 } else { PID_DATA0 },
                len: packet.min(data.len() - from),
                bus: self.memory.bus(AT_SEND + from),
                ping: self.ping && self.speed == Speed::High,
            };
            if let Rest::Done { full, .. } = self.carry(SEND, &transfer, SEND_PATIENCE_US)? {
                self.ping = full;
            }
            *toggle = !*toggle;
        }
        Ok(())
    }

    fn now_us(&self) -> u64 {
        self.clock.now_us()
    }
}

impl<R: Registers, D: Dma, C: Clock> Dwc2<R, D, C> {
    /// Ends listening with an error.
    fn deaf<T>(&mut self, why: UsbError) -> Result<T, UsbError> {
        self.unlisten();
        Err(why)
    }
}

#[cfg(test)]
mod tests;
