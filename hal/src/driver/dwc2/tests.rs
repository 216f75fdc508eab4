use super::*;
use crate::driver::fake::core::{FakeCore, Manner};
use crate::driver::fake::device::{CDC_MAC, CdcDevice};
use crate::driver::fake::{FakeClock, FakeMemory};
use std::rc::Rc;

type Driver = Dwc2<FakeCore, FakeMemory, FakeClock>;

const BOTH: [Manner; 2] = [Manner::Hardware, Manner::Qemu];
const FRESH: Target = Target { address: 0, speed: Speed::Full, packet: 64 };

fn driver(manner: Manner) -> (Driver, FakeCore, FakeClock) {
    let clock = FakeClock::default();
    let memory = FakeMemory::new(MEMORY, 0xC020_0000);
    let core = FakeCore::new(manner, memory.clone(), clock.clone());
    (Dwc2::new(core.clone(), memory, clock.clone()), core, clock)
}

/// A driver and an adapter at address 0 that is set up.
fn with_adapter(manner: Manner) -> (Driver, FakeCore, FakeClock, Rc<std::cell::RefCell<CdcDevice>>) {
    let (mut host, core, clock) = driver(manner);
    let device = CdcDevice::new();
    core.plug(device.clone(), 1);
    host.start().unwrap();
    assert_eq!(host.port(), Port::New);
    assert_eq!(host.reset_port(), Ok(Speed::Full));
    assert_eq!(host.port(), Port::Same);
    host.configure(FRESH, 1).unwrap();
    host.control_out(FRESH, Request::new(1, 11, 1, 1), &[]).unwrap();
    assert_eq!(device.borrow().chosen, (1, 1, None));
    (host, core, clock, device)
}

fn end() -> Endpoint {
    Endpoint { address: 0, number: 2, packet: 64 }
}

fn hear(host: &mut Driver) -> Option<Vec<u8>> {
    let mut heard = [0; HEARD_MAX];
    host.heard(&mut heard).unwrap().map(|n| heard[..n].to_vec())
}

#[test]
fn a_start_sets_what_the_manual_asks_for() {
    let (mut host, core, _) = driver(Manner::Hardware);
    host.start().unwrap();
    assert_eq!(core.register(GUSBCFG), GUSBCFG_FORCE_HOST, "no ULPI, no SRP, no HNP, 8 bits");
    assert_eq!(core.register(GAHBCFG), 0x31, "DMA, AXI wait, interrupts");
    assert_eq!(core.register(GNPTXFSIZ), 0x0400_0400);
    assert_eq!(core.register(HPTXFSIZ), 0x0400_0800);
    assert_eq!((core.register(HAINTMSK), core.register(GINTMSK)), (1 << LISTEN, 1 << 25));
    assert_eq!(host.port(), Port::Empty);
    assert!(!core.interrupts());
}

#[test]
fn another_controller_is_none() {
    let (mut host, core, _) = driver(Manner::Hardware);
    core.write(GSNPSID, 0);
    assert_eq!(host.start(), Err(UsbError::NoController));
}

#[test]
fn a_port_write_never_disables_the_port() {
    let (host, core, ..) = with_adapter(Manner::Hardware);
    host.modify_port(HPRT0_POWER, 0, 0);
    assert_ne!(core.read(HPRT0) & HPRT0_ENABLED, 0);
}

#[test]
fn control_transfers_of_every_shape() {
    for manner in BOTH {
        let (mut host, _, _, device) = with_adapter(manner);
        let get = |kind: u16| Request::new(0x80, 6, kind, 0x0409);
        let mut whole = [0; 80];
        assert_eq!(host.control_in(FRESH, get(0x0201), &mut whole), Ok(80), "two packets");
        assert_eq!((whole[1], whole[5], whole[79]), (2, 1, 0));
        assert_eq!(host.control_in(FRESH, get(0x0201), &mut whole[..64]), Ok(64), "one full packet");
        let mut more = [0; 200];
        assert_eq!(host.control_in(FRESH, get(0x0201), &mut more), Ok(80), "less than was asked for");
        assert_eq!(more[..80], {
            let mut again = [0; 80];
            host.control_in(FRESH, get(0x0201), &mut again).unwrap();
            again
        });
        device.borrow_mut().filters = true;
        assert_eq!(host.control_out(FRESH, Request::new(0x21, 0x43, 0xE, 0), &[]), Ok(()));
        assert_eq!(device.borrow().chosen.2, Some(0xE));
    }
}

#[test]
fn a_refusal_is_told_and_the_next_request_works() {
    for manner in BOTH {
        let (mut host, ..) = with_adapter(manner);
        let mut out = [0; 4];
        assert_eq!(host.control_in(FRESH, Request::new(0x80, 6, 0x0900, 0), &mut out), Err(UsbError::Stall));
        assert_eq!(host.control_out(FRESH, Request::new(0x21, 0x43, 0, 0), &[]), Err(UsbError::Stall));
        assert_eq!(host.control_in(FRESH, Request::new(0x80, 6, 0x0100, 0), &mut out), Ok(4));
    }
}

#[test]
fn not_yet_is_waited_out() {
    for manner in BOTH {
        let (mut host, _, _, device) = with_adapter(manner);
        crate::driver::fake::device::FakeDevice::control(&mut *device.borrow_mut()).slow = 50;
        let mut out = [0; 18];
        assert_eq!(host.control_in(FRESH, Request::new(0x80, 6, 0x0100, 0), &mut out), Ok(18));
        device.borrow_mut().busy = 50;
        let mut toggle = false;
        host.send(end(), &mut toggle, &[1; 100]).unwrap();
        assert_eq!(device.borrow().sent, [vec![1; 100]]);
    }
}

#[test]
fn nobody_at_an_address_ends_in_time() {
    for (manner, why) in [(Manner::Hardware, UsbError::Broken), (Manner::Qemu, UsbError::Timeout)] {
        let (mut host, _, clock, _) = with_adapter(manner);
        let before = clock.peek();
        let nobody = Target { address: 9, ..FRESH };
        assert_eq!(host.control_in(nobody, Request::new(0x80, 6, 0x0100, 0), &mut [0; 8]), Err(why));
        assert!(clock.peek() - before < 1_000_000);
        let there = host.control_in(FRESH, Request::new(0x80, 6, 0x0100, 0), &mut [0; 8]);
        assert_eq!(there, Ok(8), "the channel is usable again");
    }
}

#[test]
fn every_length_is_sent_whole() {
    for manner in BOTH {
        let (mut host, _, _, device) = with_adapter(manner);
        let mut toggle = false;
        for len in [1, 60, 63, 64, 65, 127, 128, 512, 1472, 1500, 1514] {
            let frame: Vec<u8> = (0..len).map(|n| n as u8).collect();
            host.send(end(), &mut toggle, &frame).unwrap();
            assert_eq!(device.borrow_mut().sent.pop(), Some(frame), "{len} bytes, {manner:?}");
            assert!(device.borrow().sent.is_empty());
        }
    }
}

#[test]
fn every_length_is_heard_whole() {
    for manner in BOTH {
        let (mut host, core, _, device) = with_adapter(manner);
        host.listen(end());
        assert_eq!(hear(&mut host), None);
        assert!(!core.interrupts());
        let frame = |len: usize| (0..len).map(|n| (n + len) as u8).collect::<Vec<u8>>();
        let lengths = [60, 64, 65, 128, 1024, 1513, 1514];
        for len in lengths {
            device.borrow_mut().to_host.push_back(frame(len));
        }
        for len in lengths {
            core.read(HPRT0);
            assert!(core.interrupts(), "a frame waits");
            assert_eq!(hear(&mut host), Some(frame(len)), "{len} bytes, {manner:?}");
        }
        assert_eq!(hear(&mut host), None);
        assert!(!core.interrupts(), "the interrupt is gone with what raised it");
    }
}

#[test]
fn an_adapter_that_takes_nothing_is_noticed() {
    for manner in BOTH {
        let (mut host, _, clock, device) = with_adapter(manner);
        device.borrow_mut().hung = true;
        let before = clock.peek();
        assert_eq!(host.send(end(), &mut false, &[0; 60]), Err(UsbError::Timeout));
        assert!(clock.peek() - before < 200_000);
    }
}

#[test]
fn an_adapter_that_is_pulled_out_is_noticed() {
    for manner in BOTH {
        let (mut host, core, ..) = with_adapter(manner);
        host.listen(end());
        core.unplug();
        let broken = (0..100).find_map(|_| host.heard(&mut [0; HEARD_MAX]).err());
        // The emulator is silent; the port tells.
        assert_eq!(broken.is_some(), manner == Manner::Hardware);
        assert_eq!(host.port(), Port::Empty);
        host.unlisten();
        core.read(HPRT0);
        assert_eq!(host.heard(&mut [0; HEARD_MAX]), Ok(None));
        assert!(!core.interrupts());
    }
}

#[test]
fn a_channel_that_goes_on_after_its_stop_disturbs_nobody() {
    let (mut host, core, _, device) = with_adapter(Manner::Qemu);
    host.listen(end());
    host.unlisten();
    device.borrow_mut().to_host.push_back(CDC_MAC.to_vec());
    core.read(HPRT0);
    assert!(core.interrupts());
    assert_eq!(hear(&mut host), None);
    assert!(!core.interrupts());
    device.borrow_mut().to_host.push_back(vec![5; 70]);
    host.listen(end());
    assert_eq!(hear(&mut host), Some(vec![5; 70]));
}

#[test]
fn a_device_put_back_is_new() {
    let (mut host, core, _, device) = with_adapter(Manner::Hardware);
    core.unplug();
    core.plug(device, 1);
    assert_eq!(host.port(), Port::New);
    assert_eq!(host.reset_port(), Ok(Speed::Full));
    assert_eq!(host.port(), Port::Same);
}
