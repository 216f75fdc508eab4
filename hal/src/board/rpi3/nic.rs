//! The board's adapter: whichever hangs from its USB.

use super::super::{BoardConsole, Nic, alive};
use super::{BoardClock, Mmio, Rpi3, Window, registers, window};
use crate::arch::aarch64::time;
use crate::console::Console;
use crate::driver::dwc2::{self, Dwc2};
use crate::driver::mailbox::Mailbox;
use crate::driver::usb::bus::Bus;
use crate::driver::usb_net::{Received, Sending, UsbNet};
use core::sync::atomic::{AtomicBool, Ordering};
use smoltcp::phy::{Device, DeviceCapabilities};
use smoltcp::time::Instant;

const USB: usize = 0x3F98_0000;
/// An adapter that is not there after so long may come later; meanwhile the board has its own address.
const PATIENCE_US: u64 = 5_000_000;

type Host = Dwc2<Mmio, Window, BoardClock>;

static CARRIER: AtomicBool = AtomicBool::new(false);

/// The adapter.
pub struct UsbNic {
    net: UsbNet<Host>,
    mac: [u8; 6],
}

/// Gives power to the USB and waits for an adapter.
pub fn open(mailbox: &mut Mailbox<Mmio, Window, BoardClock>) -> Result<UsbNic, &'static str> {
    mailbox.power_usb().map_err(|_| "the firmware does not turn the USB on")?;
    let mac = mailbox.mac().map_err(|_| "the firmware does not say the board's hardware address")?;
    let host = Dwc2::new(registers(USB), window(dwc2::MEMORY), BoardClock);
    let tell = |line: core::fmt::Arguments<'_>| BoardConsole::<Rpi3>::default().say(line);
    let mut net = UsbNet::new(Bus::new(host, mac, tell));
    let until = time::now_us() + PATIENCE_US;
    while !net.look() {
        alive::<Rpi3>();
        if time::now_us() >= until {
            tell(format_args!("usb: no network adapter yet"));
            break;
        }
    }
    let mac = net.fix_mac();
    Ok(UsbNic { net, mac })
}

/// Whether there is an adapter with a cable in, when it was looked at last.
pub fn carrier() -> bool {
    CARRIER.load(Ordering::Relaxed)
}

impl Nic for UsbNic {
    fn mac(&self) -> [u8; 6] {
        self.mac
    }
}

impl Device for UsbNic {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a, Host>;

    fn receive(&mut self, now: Instant) -> Option<(Received<'_>, Sending<'_, Host>)> {
        self.net.look();
        CARRIER.store(self.net.is_linked(), Ordering::Relaxed);
        self.net.receive(now)
    }
    fn transmit(&mut self, now: Instant) -> Option<Sending<'_, Host>> {
        self.net.transmit(now)
    }
    fn capabilities(&self) -> DeviceCapabilities {
        self.net.capabilities()
    }
}
