//! A device that is listened to: what passes is handed on as it is, but what the stack does not tell is noted.

use smoltcp::phy::{Device, DeviceCapabilities, PacketMeta, RxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpProtocol, Ipv4Address, Ipv4Packet, TcpPacket,
};

/// Callers kept at once until they are asked about.
const CALLERS: usize = 8;
/// One is not asked about again for so long.
const ASK_AGAIN_US: u64 = 1_000_000;
/// Questions that may be asked at once.
const BURST: u64 = 64;
/// Then one each such span.
const EACH_US: u64 = 30_000;

/// A device, and what was heard on it.
pub(super) struct Ear<D> {
    pub(super) device: D,
    pub(super) heard: Heard,
}

/// What was heard.
#[derive(Default)]
pub(super) struct Heard {
    /// Somebody spoke of multicast groups: an answer may be due for as long as [the protocol](super) says.
    pub(super) igmp: bool,
    /// Who has just begun to connect.
    callers: [Option<Ipv4Address>; CALLERS],
    asked: [(Option<Ipv4Address>, u64); CALLERS],
    next_asked: usize,
    /// Until when the questions asked so far are paid for.
    paid_until: u64,
}

impl<D> Ear<D> {
    pub(super) fn new(device: D) -> Self {
        Ear { device, heard: Heard::default() }
    }
}

impl<D: Device> Ear<D> {
    /// Asks for the hardware addresses of those who have just begun to connect. The stack would do so too, but for
    /// one neighbour a second only: after a restart of this end, 60 devices that dial at once would wait a minute.
    pub(super) fn ask(
        &mut self,
        now: u64,
        from: EthernetAddress,
        ip: Ipv4Address,
        near: impl Fn(Ipv4Address) -> bool,
    ) {
        for caller in core::mem::take(&mut self.heard.callers).into_iter().flatten() {
            if !near(caller) || !self.heard.may_ask(caller, now) {
                continue;
            }
            let Some(token) = self.device.transmit(instant(now)) else { return };
            let arp = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Request,
                source_hardware_addr: from,
                source_protocol_addr: ip,
                target_hardware_addr: EthernetAddress([0; 6]),
                target_protocol_addr: caller,
            };
            let ethernet = EthernetRepr {
                src_addr: from,
                dst_addr: EthernetAddress::BROADCAST,
                ethertype: EthernetProtocol::Arp,
            };
            smoltcp::phy::TxToken::consume(token, ethernet.buffer_len() + arp.buffer_len(), |bytes| {
                let mut frame = EthernetFrame::new_unchecked(bytes);
                ethernet.emit(&mut frame);
                arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
            });
        }
    }
}

impl Heard {
    fn listen(&mut self, frame: &[u8]) {
        let Ok(frame) = EthernetFrame::new_checked(frame) else { return };
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            return;
        }
        let Ok(ip) = Ipv4Packet::new_checked(frame.payload()) else { return };
        match ip.next_header() {
            IpProtocol::Igmp => self.igmp = true,
            IpProtocol::Tcp => {
                let Ok(tcp) = TcpPacket::new_checked(ip.payload()) else { return };
                if !tcp.syn() || tcp.ack() || self.callers.contains(&Some(ip.src_addr())) {
                    return;
                }
                if let Some(free) = self.callers.iter_mut().find(|c| c.is_none()) {
                    *free = Some(ip.src_addr());
                }
            }
            _ => {}
        }
    }
    /// Whether one may be asked about now; if so, it counts as asked.
    fn may_ask(&mut self, caller: Ipv4Address, now: u64) -> bool {
        if self.asked.iter().any(|(who, at)| *who == Some(caller) && now < at + ASK_AGAIN_US) {
            return false;
        }
        let paid = self.paid_until.max(now) + EACH_US;
        if paid > now + BURST * EACH_US {
            return false;
        }
        self.paid_until = paid;
        self.asked[self.next_asked] = (Some(caller), now);
        self.next_asked = (self.next_asked + 1) % CALLERS;
        true
    }
}

impl<D: Device> Device for Ear<D> {
    type RxToken<'a>
        = Listened<'a, D::RxToken<'a>>
    where
        D: 'a;
    type TxToken<'a>
        = D::TxToken<'a>
    where
        D: 'a;

    fn receive(&mut self, at: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let (token, answer) = self.device.receive(at)?;
        Some((Listened { token, heard: &mut self.heard }, answer))
    }
    fn transmit(&mut self, at: Instant) -> Option<Self::TxToken<'_>> {
        self.device.transmit(at)
    }
    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
    }
}

/// A frame that is listened to when it is taken.
pub(super) struct Listened<'a, T> {
    token: T,
    heard: &'a mut Heard,
}

impl<T: RxToken> RxToken for Listened<'_, T> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let heard = self.heard;
        self.token.consume(|frame| {
            heard.listen(frame);
            f(frame)
        })
    }
    fn meta(&self) -> PacketMeta {
        self.token.meta()
    }
}

/// The stack's time.
pub(super) fn instant(us: u64) -> Instant {
    Instant::from_micros(i64::try_from(us).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_few() {
        let mut heard = Heard::default();
        let who = |i: u32| Ipv4Address::from(0x0a00_0000 + i);
        assert!(heard.may_ask(who(1), 5) && !heard.may_ask(who(1), 6));
        let first = (2..1000).filter(|i| heard.may_ask(who(*i), 10)).count();
        assert_eq!(first as u64, BURST - 1);
        let second = (0..1000).filter(|i| heard.may_ask(who(2000 + *i), 10 + 1000 * u64::from(*i))).count();
        assert!((30..36).contains(&second), "{second} in a second");
    }
}
