use super::bus::Bus;
use super::*;
use crate::driver::dwc2::{Dwc2, MEMORY};
use crate::driver::fake::core::{FakeCore, Manner};
use crate::driver::fake::device::{CDC_MAC, CdcDevice};
use crate::driver::fake::hub::HubDevice;
use crate::driver::fake::lan::LanDevice;
use crate::driver::fake::{FakeClock, FakeMemory};

const BOTH: [Manner; 2] = [Manner::Hardware, Manner::Qemu];
const BOARD: [u8; 6] = [0xB8, 0x27, 0xEB, 1, 2, 3];
const HIGH: u32 = 1 << 10;
const LOW: u32 = 1 << 9;

type TestBus = Bus<Dwc2<FakeCore, FakeMemory, FakeClock>>;

struct Rig {
    bus: TestBus,
    core: FakeCore,
    clock: FakeClock,
}

impl Rig {
    fn new(manner: Manner) -> Rig {
        let clock = FakeClock::default();
        let memory = FakeMemory::new(MEMORY, 0xC020_0000);
        let core = FakeCore::new(manner, memory.clone(), clock.clone());
        let host = Dwc2::new(core.clone(), memory, clock.clone());
        Rig { bus: Bus::new(host, BOARD, |_| ()), core, clock }
    }

    /// Lets so many seconds pass, looking ten times in each; none of the looks takes long.
    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            self.clock.pass(100_000);
            let before = self.clock.peek();
            self.bus.look();
            assert!(self.clock.peek() - before < 1_500_000, "a look takes {}", self.clock.peek() - before);
        }
    }

    fn mac(&mut self) -> Option<[u8; 6]> {
        self.bus.nic().map(|(nic, _)| nic.mac())
    }

    fn linked(&mut self) -> bool {
        let (nic, host) = self.bus.nic().expect("an adapter");
        nic.check_link(host).unwrap()
    }

    fn send(&mut self, frame: &[u8]) {
        let (nic, host) = self.bus.nic().expect("an adapter");
        nic.send(host, frame).unwrap();
    }

    fn hear(&mut self) -> Option<Vec<u8>> {
        let mut heard = [0; HEARD_MAX];
        let (nic, host) = self.bus.nic().expect("an adapter");
        let n = host.heard(&mut heard).unwrap()?;
        nic.next_frame(&heard[..n]).map(|(frame, _)| heard[frame].to_vec())
    }
}

#[test]
fn an_adapter_at_the_root() {
    for manner in BOTH {
        let mut rig = Rig::new(manner);
        rig.run(2);
        assert_eq!(rig.mac(), None);
        let cdc = CdcDevice::new();
        cdc.borrow_mut().to_host.push_back(vec![9; 128]);
        rig.core.plug(cdc.clone(), 1);
        rig.run(2);
        assert_eq!(rig.mac(), Some(CDC_MAC));
        assert_eq!(rig.hear(), Some(vec![9; 128]));
        rig.send(&[3; 42]);
        let mut padded = vec![3; 42];
        padded.resize(60, 0);
        assert_eq!(cdc.borrow_mut().sent, [padded]);
    }
}

#[test]
fn an_adapter_behind_two_hubs_among_others() {
    for manner in BOTH {
        let mut rig = Rig::new(manner);
        let (outer, inner, cdc) = (HubDevice::new(5), HubDevice::new(3), CdcDevice::new());
        outer.borrow_mut().speed = vec![HIGH, LOW, 0, HIGH, HIGH];
        inner.borrow_mut().speed = vec![HIGH; 3];
        outer.borrow_mut().plug(2, CdcDevice::new()); // too slow for its hub
        outer.borrow_mut().plug(3, CdcDevice::new()); // as is this
        outer.borrow_mut().plug(4, inner.clone());
        inner.borrow_mut().plug(3, cdc.clone());
        rig.core.plug(outer.clone(), 0);
        rig.run(3);
        assert_eq!(rig.mac(), Some(CDC_MAC));
        assert!(!outer.borrow().is_enabled(2) && !outer.borrow().is_enabled(3), "left alone");
        rig.send(&[1; 64]);
        assert_eq!(cdc.borrow().sent, [vec![1; 64]]);
        let resets = outer.borrow().resets;
        rig.run(5);
        assert_eq!(outer.borrow().resets, resets, "what is of no use is not tried again and again");
    }
}

#[test]
fn it_comes_late_goes_and_comes_again_elsewhere() {
    for manner in BOTH {
        let mut rig = Rig::new(manner);
        let (hub, cdc) = (HubDevice::new(4), CdcDevice::new());
        rig.core.plug(hub.clone(), 1);
        rig.run(3);
        assert_eq!(rig.mac(), None);
        for port in [1, 3, 3, 1] {
            hub.borrow_mut().plug(port, cdc.clone());
            rig.run(3);
            assert_eq!(rig.mac(), Some(CDC_MAC), "port {port}, {manner:?}");
            cdc.borrow_mut().sent.clear();
            rig.send(&[port as u8; 70]);
            assert_eq!(cdc.borrow().sent, [vec![port as u8; 70]]);
            hub.borrow_mut().unplug(port);
            rig.run(3);
            assert_eq!(rig.mac(), None, "port {port}, {manner:?}");
        }
    }
}

#[test]
fn the_whole_hub_goes_and_comes_again() {
    for manner in BOTH {
        let mut rig = Rig::new(manner);
        let (hub, cdc) = (HubDevice::new(4), CdcDevice::new());
        hub.borrow_mut().plug(1, cdc.clone());
        for _ in 0..3 {
            rig.core.plug(hub.clone(), 1);
            rig.run(3);
            assert_eq!(rig.mac(), Some(CDC_MAC), "{manner:?}");
            rig.core.unplug();
            rig.run(3);
            assert_eq!(rig.mac(), None, "{manner:?}");
        }
        // So fast that only the change is seen.
        rig.core.plug(hub.clone(), 1);
        rig.run(3);
        rig.core.unplug();
        rig.core.plug(hub.clone(), 1);
        rig.run(3);
        rig.send(&[1; 70]);
    }
}

#[test]
fn replugged_between_two_looks_is_seen() {
    let mut rig = Rig::new(Manner::Hardware);
    let (hub, cdc) = (HubDevice::new(2), CdcDevice::new());
    rig.core.plug(hub.clone(), 1);
    hub.borrow_mut().plug(1, cdc.clone());
    rig.run(3);
    hub.borrow_mut().unplug(1);
    hub.borrow_mut().plug(1, cdc.clone());
    rig.run(3);
    rig.send(&[1; 70]);
    assert_eq!(cdc.borrow().sent.len(), 1);
}

#[test]
fn one_that_failed_is_brought_up_anew() {
    for manner in BOTH {
        let mut rig = Rig::new(manner);
        let (hub, cdc) = (HubDevice::new(2), CdcDevice::new());
        hub.borrow_mut().plug(2, cdc.clone());
        rig.core.plug(hub.clone(), 1);
        rig.run(3);
        cdc.borrow_mut().hung = true;
        let (nic, host) = rig.bus.nic().unwrap();
        let why = nic.send(host, &[0; 60]).unwrap_err();
        rig.bus.nic_failed(why);
        assert_eq!(rig.mac(), None);
        cdc.borrow_mut().hung = false;
        rig.run(2);
        rig.send(&[1; 70]);
        assert_eq!(cdc.borrow().sent.last(), Some(&vec![1; 70]), "{manner:?}");
    }
}

#[test]
fn a_fixed_address_is_every_adapters() {
    let mut rig = Rig::new(Manner::Hardware);
    assert_eq!(rig.bus.fix_mac(), BOARD);
    let cdc = CdcDevice::new();
    cdc.borrow_mut().filters = true;
    rig.core.plug(cdc.clone(), 1);
    rig.run(2);
    assert_eq!(rig.mac(), Some(BOARD));
    assert_eq!(cdc.borrow().chosen.2, Some(0b1111), "it takes everything in");

    let mut rig = Rig::new(Manner::Hardware);
    cdc.borrow_mut().chosen.2 = None;
    rig.core.plug(cdc.clone(), 1);
    rig.run(2);
    assert_eq!(rig.bus.fix_mac(), CDC_MAC, "the address of the one that was there first");
    assert_eq!(cdc.borrow().chosen.2, Some(0b1110));
}

#[test]
fn the_boards_own_socket() {
    for manner in BOTH {
        let mut rig = Rig::new(manner);
        let (hub, lan) = (HubDevice::new(5), LanDevice::new());
        hub.borrow_mut().speed = vec![HIGH; 5];
        hub.borrow_mut().plug(1, lan.clone());
        rig.core.plug(hub, 0);
        rig.run(3);
        assert_eq!(rig.mac(), Some(BOARD));
        let register = |at: u16| lan.borrow().registers[&at];
        assert_eq!((register(0x108), register(0x104)), (0x01EB_27B8, 0x0302));
        assert_eq!(register(0x14), 1 << 12, "no empty answers, one frame a transfer, no offset");
        assert_eq!((register(0x10), register(0x100) & 0xC), (4, 0xC), "both directions are on");
        let on = lan.borrow().written.iter().position(|w| w.0 == 0x10).unwrap();
        let mac = lan.borrow().written.iter().position(|w| w.0 == 0x104).unwrap();
        assert!(mac < on, "the address is set before frames flow");

        assert!(!rig.linked());
        lan.borrow_mut().cable = true;
        assert!(rig.linked());
        assert_eq!(register(0x100) & (1 << 20 | 1 << 23), 1 << 20, "full duplex");

        rig.send(&[7; 504]); // with its head a multiple of 512
        let sent = lan.borrow_mut().sent.pop().unwrap();
        assert_eq!((&sent[..8], sent.len()), (&[0xF8, 0x31, 0, 0, 0xF8, 1, 0, 0][..], 512));
        let mut whole = (68u32 << 16).to_le_bytes().to_vec();
        whole.extend([8; 64]);
        whole.extend([0xEE; 4]);
        lan.borrow_mut().to_host.push_back(whole);
        assert_eq!(rig.hear(), Some(vec![8; 64]));
    }
}

#[test]
fn the_socket_of_the_next_board() {
    for manner in BOTH {
        let mut rig = Rig::new(manner);
        let (outer, inner, lan) = (HubDevice::new(4), HubDevice::new(3), LanDevice::new_7800());
        for hub in [&outer, &inner] {
            hub.borrow_mut().speed = vec![HIGH; 4];
        }
        outer.borrow_mut().plug(1, inner.clone());
        rig.core.plug(outer, 0);
        rig.run(3);
        // It comes seconds after the hubs.
        inner.borrow_mut().plug(1, lan.clone());
        rig.run(3);
        assert_eq!(rig.mac(), Some(BOARD));
        let register = |at: u16| lan.borrow().registers[&at];
        assert_eq!((register(0x11C), register(0x118)), (0x01EB_27B8, 0x0302));
        assert_eq!((register(0x404), register(0x400)), (0x01EB_27B8, 0x8000_0302), "it is let through");
        assert_eq!(
            (register(0x10) & 1 << 4, register(0x80)),
            (0, 1 << 6),
            "one frame a transfer, none empty"
        );
        assert_eq!(register(0xB0) & 0x700, 0x600, "to all and to groups");
        assert_eq!((register(0xC0), register(0xC4)), (1 << 31, 1 << 31));
        assert_eq!((register(0x104), register(0x108)), (1518 << 16 | 1, 1), "both directions are on");
        assert_eq!(register(0x100), 1 << 19 | 1 << 12 | 1 << 11, "duplex and speed are the PHY's");
        let phy = lan.borrow().phy;
        assert_eq!((phy[4], phy[9], phy[0]), (0x01E1, 0, 1 << 12 | 1 << 9), "no gigabit");
        let on = lan.borrow().written.iter().position(|w| w.0 == 0xC0).unwrap();
        let mac = lan.borrow().written.iter().position(|w| w.0 == 0x400).unwrap();
        assert!(mac < on, "the address is set before frames flow");

        assert!(!rig.linked());
        lan.borrow_mut().cable = true;
        assert!(rig.linked());

        rig.send(&[7; 504]);
        let sent = lan.borrow_mut().sent.pop().unwrap();
        assert_eq!((&sent[..8], sent.len()), (&[0xF8, 1, 0x40, 0, 0, 0, 0, 0][..], 512));
        let whole = [&68u32.to_le_bytes()[..], &[0; 6], &[8; 64], &[0xEE; 4]].concat();
        lan.borrow_mut().to_host.push_back(whole);
        assert_eq!(rig.hear(), Some(vec![8; 64]));
    }
}
