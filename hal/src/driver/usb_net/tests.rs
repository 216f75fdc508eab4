use super::*;
use crate::driver::dwc2::{Dwc2, MEMORY};
use crate::driver::fake::core::{FakeCore, Manner};
use crate::driver::fake::device::CdcDevice;
use crate::driver::fake::lan::LanDevice;
use crate::driver::fake::{FakeClock, FakeMemory};

fn device(manner: Manner) -> (UsbNet<Dwc2<FakeCore, FakeMemory, FakeClock>>, FakeCore, FakeClock) {
    let clock = FakeClock::default();
    let memory = FakeMemory::new(MEMORY, 0xC020_0000);
    let core = FakeCore::new(manner, memory.clone(), clock.clone());
    let host = Dwc2::new(core.clone(), memory, clock.clone());
    (UsbNet::new(Bus::new(host, [2; 6], |_| ())), core, clock)
}

fn receive<H: Host>(net: &mut UsbNet<H>) -> Option<Vec<u8>> {
    let (rx, _) = net.receive(Instant::ZERO)?;
    Some(rx.consume(<[u8]>::to_vec))
}

fn transmit<H: Host>(net: &mut UsbNet<H>, frame: &[u8]) {
    let token = net.transmit(Instant::ZERO).expect("there is always room");
    token.consume(frame.len(), |out| out.copy_from_slice(frame));
}

#[test]
fn frames_flow_once_an_adapter_is_there() {
    for manner in [Manner::Hardware, Manner::Qemu] {
        let (mut net, core, clock) = device(manner);
        assert_eq!(receive(&mut net), None);
        transmit(&mut net, &[1; 60]);
        assert!(!net.is_linked());
        let cdc = CdcDevice::new();
        core.plug(cdc.clone(), 1);
        for _ in 0..20 {
            clock.pass(100_000);
            assert_eq!(receive(&mut net), None);
        }
        assert!(net.is_linked() && cdc.borrow().sent.is_empty());
        cdc.borrow_mut().to_host.extend([vec![4; 64], vec![5; 1514]]);
        assert_eq!((receive(&mut net), receive(&mut net)), (Some(vec![4; 64]), Some(vec![5; 1514])));
        transmit(&mut net, &[6; 61]);
        assert_eq!(cdc.borrow().sent, [vec![6; 61]]);

        cdc.borrow_mut().hung = true;
        transmit(&mut net, &[7; 61]);
        assert!(!net.is_linked(), "an adapter that takes nothing has no cable");
        cdc.borrow_mut().hung = false;
        for _ in 0..20 {
            clock.pass(100_000);
            receive(&mut net);
        }
        transmit(&mut net, &[8; 61]);
        assert_eq!(cdc.borrow().sent.last(), Some(&vec![8; 61]));
    }
}

#[test]
fn a_transfer_may_hold_two_frames() {
    let (mut net, core, clock) = device(Manner::Hardware);
    let lan = LanDevice::new();
    lan.borrow_mut().cable = true;
    core.plug(lan.clone(), 0);
    for _ in 0..20 {
        clock.pass(100_000);
        receive(&mut net);
    }
    let mut whole = Vec::new();
    for (byte, len) in [(1, 65u32), (2, 70)] {
        whole.extend(((len + 4) << 16).to_le_bytes());
        whole.extend(vec![byte; len as usize + 4]);
        whole.resize(whole.len().next_multiple_of(4), 0);
    }
    lan.borrow_mut().to_host.push_back(whole);
    assert_eq!(receive(&mut net), Some(vec![1; 65]));
    assert_eq!(receive(&mut net), Some(vec![2; 70]));
    assert_eq!(receive(&mut net), None);

    lan.borrow_mut().cable = false;
    for _ in 0..20 {
        clock.pass(100_000);
        receive(&mut net);
    }
    assert!(!net.is_linked());
    transmit(&mut net, &[8; 61]);
    assert!(lan.borrow().sent.is_empty(), "nothing is sent without a cable");
}
