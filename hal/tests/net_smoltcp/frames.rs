//! Frames, made and taken apart by hand.

use crate::wire::mac;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::*;

pub const EVERYBODY: [u8; 6] = [0xff; 6];

/// An IPv4 frame.
pub fn ip(
    from: [u8; 6],
    to: [u8; 6],
    ips: ([u8; 4], [u8; 4]),
    protocol: IpProtocol,
    payload: &[u8],
) -> Vec<u8> {
    let repr = Ipv4Repr {
        src_addr: ips.0.into(),
        dst_addr: ips.1.into(),
        next_header: protocol,
        payload_len: payload.len(),
        hop_limit: 255,
    };
    let mut frame = vec![0; 14 + repr.buffer_len() + payload.len()];
    let mut ethernet = EthernetFrame::new_unchecked(&mut frame);
    ethernet.set_src_addr(EthernetAddress(from));
    ethernet.set_dst_addr(EthernetAddress(to));
    ethernet.set_ethertype(EthernetProtocol::Ipv4);
    let mut packet = Ipv4Packet::new_unchecked(ethernet.payload_mut());
    repr.emit(&mut packet, &ChecksumCapabilities::default());
    packet.payload_mut().copy_from_slice(payload);
    frame
}

pub fn udp(
    from: [u8; 6],
    to: [u8; 6],
    ips: ([u8; 4], [u8; 4]),
    ports: (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let repr = UdpRepr { src_port: ports.0, dst_port: ports.1 };
    let mut bytes = vec![0; repr.header_len() + payload.len()];
    let mut packet = UdpPacket::new_unchecked(&mut bytes);
    let (a, b) = (IpAddress::Ipv4(ips.0.into()), IpAddress::Ipv4(ips.1.into()));
    repr.emit(
        &mut packet,
        &a,
        &b,
        payload.len(),
        |p| p.copy_from_slice(payload),
        &ChecksumCapabilities::default(),
    );
    ip(from, to, ips, IpProtocol::Udp, &bytes)
}

/// A segment without data to port 7420 of machine 1.
pub fn tcp(ips: ([u8; 4], [u8; 4]), port: u16, control: TcpControl, numbers: (i32, Option<i32>)) -> Vec<u8> {
    let repr = TcpRepr {
        src_port: port,
        dst_port: 7420,
        control,
        seq_number: TcpSeqNumber(numbers.0),
        ack_number: numbers.1.map(TcpSeqNumber),
        window_len: 4000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let mut bytes = vec![0; repr.buffer_len()];
    let (a, b) = (IpAddress::Ipv4(ips.0.into()), IpAddress::Ipv4(ips.1.into()));
    repr.emit(&mut TcpPacket::new_unchecked(&mut bytes), &a, &b, &ChecksumCapabilities::default());
    ip(mac(9), mac(1), ips, IpProtocol::Tcp, &bytes)
}

/// What a UDP frame says: from where to where, and what.
pub struct Datagram {
    pub to: [u8; 4],
    pub ports: (u16, u16),
    pub hops: u8,
    pub payload: Vec<u8>,
}

/// The IPv4 packet of a frame: protocol, destination and payload.
pub fn packet(frame: &[u8]) -> Option<(IpProtocol, [u8; 4], u8, &[u8])> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let ours = ethernet.ethertype() == EthernetProtocol::Ipv4;
    let ip = Ipv4Packet::new_checked(ethernet.payload()).ok().filter(|_| ours)?;
    Some((ip.next_header(), ip.dst_addr().octets(), ip.hop_limit(), ip.payload()))
}

pub fn datagram(frame: &[u8]) -> Option<Datagram> {
    let (protocol, to, hops, payload) = packet(frame)?;
    let udp = UdpPacket::new_checked(payload).ok().filter(|_| protocol == IpProtocol::Udp)?;
    Some(Datagram { to, hops, ports: (udp.src_port(), udp.dst_port()), payload: udp.payload().to_vec() })
}

/// The answer to a question for the hardware address of `ip`, if the frame is that.
pub fn arp_answer(frame: &[u8], ip: [u8; 4], own: [u8; 6]) -> Option<Vec<u8>> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let asked = ArpPacket::new_checked(ethernet.payload()).ok().and_then(|p| ArpRepr::parse(&p).ok());
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = asked.filter(|_| ethernet.ethertype() == EthernetProtocol::Arp)?
    else {
        return None;
    };
    if target_protocol_addr.octets() != ip {
        return None;
    }
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(own),
        source_protocol_addr: ip.into(),
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    let mut answer = vec![0; 14 + repr.buffer_len()];
    let mut out = EthernetFrame::new_unchecked(&mut answer);
    out.set_src_addr(EthernetAddress(own));
    out.set_dst_addr(source_hardware_addr);
    out.set_ethertype(EthernetProtocol::Arp);
    repr.emit(&mut ArpPacket::new_unchecked(out.payload_mut()));
    Some(answer)
}
