//! Which devices are there: from the root port through hubs to one network adapter. Devices that are no adapter are left
//! alone until they are unplugged.
//!
//! [`Bus::look`] is called again and again; each call brings up one device at most, so that none takes long.

use super::descriptor::{self, Device};
use super::nic::{Mac, Nic};
use super::{Host, Port, Request, Speed, Target, UsbError};
use core::fmt::Arguments;

/// As many hubs as there may be.
const HUBS: usize = 8;
/// A hub's ports beyond these are not looked at.
const PORTS: u8 = 15;
/// A device that cannot be brought up is tried so often until it is unplugged.
const TRIES: u8 = 4;

const CLASS_HUB: u8 = 9;
const SET_ADDRESS: u8 = 5;
const GET_STATUS: u8 = 0;
const CLEAR_FEATURE: u8 = 1;
const SET_FEATURE: u8 = 3;
const TO_PORT: u8 = 0x23;
const FROM_PORT: u8 = 0xA3;

const PORT_ENABLE: u16 = 1;
const PORT_RESET: u16 = 4;
const PORT_POWER: u16 = 8;
const C_PORT_CONNECTION: u16 = 16;
const C_PORT_ENABLE: u16 = 17;
const C_PORT_OVER_CURRENT: u16 = 19;
const C_PORT_RESET: u16 = 20;
const IS_CONNECTED: u32 = 1;
const IS_ENABLED: u32 = 1 << 1;
const IS_LOW_SPEED: u32 = 1 << 9;
const IS_HIGH_SPEED: u32 = 1 << 10;

const DEBOUNCE_US: u64 = 100_000;
const RESET_PATIENCE_US: u64 = 500_000;
const RECOVERY_US: u64 = 20_000;
const ADDRESS_US: u64 = 10_000;
/// Between two looks: when the adapter is there, and when it is not.
const CALM_US: u64 = 1_000_000;
const EAGER_US: u64 = 200_000;

/// Where a device hangs: which hub, none for the root port, and which of its ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    hub: Option<usize>,
    port: u8,
}

const ROOT: Place = Place { hub: None, port: 0 };

#[derive(Clone, Copy, Debug)]
struct Hub {
    place: Place,
    to: Target,
    ports: u8,
    /// What hangs from each port, first at 1.
    there: [There; PORTS as usize + 1],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum There {
    Nothing,
    /// It could not be brought up, so often.
    Trouble(u8),
    /// It is of no use here.
    Other,
    Hub,
    Nic,
}

/// The tree of devices, with the adapter.
pub struct Bus<H> {
    host: H,
    started: bool,
    root: There,
    hubs: [Option<Hub>; HUBS],
    nic: Option<(Place, Nic)>,
    last_address: u8,
    next_look_us: u64,
    /// A hub was found: look at its ports at once.
    hurry: bool,
    /// What went wrong last and was told: the same again is not.
    told: Option<UsbError>,
    mac: Mac,
    /// Where news is told.
    tell: fn(Arguments<'_>),
}

impl<H: Host> Bus<H> {
    /// The bus behind a controller, which need not be set up. Adapters that have no address of their own take
    /// `mac`. `tell` is given what people may want to know.
    pub fn new(host: H, mac: [u8; 6], tell: fn(Arguments<'_>)) -> Self {
        let hubs = [None; HUBS];
        Bus {
            host,
            started: false,
            root: There::Nothing,
            hubs,
            nic: None,
            last_address: 0,
            next_look_us: 0,
            hurry: false,
            told: None,
            mac: Mac { is: mac, fixed: false },
            tell,
        }
    }

    /// The adapter, and the controller that it is reached by.
    pub fn nic(&mut self) -> Option<(&mut Nic, &mut H)> {
        self.nic.as_mut().map(|(_, nic)| (nic, &mut self.host))
    }

    /// From now on every adapter has the address of the one that is there, or of the board if there is none. Gives it.
    pub fn fix_mac(&mut self) -> [u8; 6] {
        let is = self.nic.as_ref().map_or(self.mac.is, |(_, nic)| nic.mac());
        self.mac = Mac { is, fixed: true };
        is
    }

    /// When to look again, by the controller's clock.
    pub fn next_look_us(&self) -> u64 {
        self.next_look_us
    }

    /// The adapter does not work any more: it is reset and brought up anew.
    pub fn nic_failed(&mut self, why: UsbError) {
        if let Some((place, _)) = self.nic {
            (self.tell)(format_args!("usb: the network adapter is lost: {why}"));
            self.forget(place);
            self.set_there(place, There::Trouble(0));
            self.next_look_us = 0;
        }
    }

    /// Looks, if it is time, what came and what went. Takes a second at most, nearly nothing when all is as before.
    pub fn look(&mut self) {
        let now = self.host.now_us();
        if now < self.next_look_us {
            return;
        }
        let mut pause = EAGER_US;
        if let Err(why) = self.look_now() {
            // Whatever did not answer: begin anew from the root.
            if self.told != Some(why) {
                (self.tell)(format_args!("usb: {why}; beginning anew"));
            }
            self.told = Some(why);
            self.forget(ROOT);
            self.started &= why != UsbError::NoController;
            pause = CALM_US;
        } else if self.nic.is_some() {
            self.told = None;
            pause = CALM_US;
        } else if core::mem::take(&mut self.hurry) {
            pause = 0;
        }
        self.next_look_us = self.host.now_us() + pause;
    }

    fn look_now(&mut self) -> Result<(), UsbError> {
        if !self.started {
            self.host.start()?;
            self.started = true;
        }
        match self.host.port() {
            Port::Empty => {
                self.forget(ROOT);
                return Ok(());
            }
            Port::Same if matches!(self.root, There::Hub | There::Nic | There::Other) => {}
            Port::Same | Port::New => {
                if self.root != There::Nothing && !matches!(self.root, There::Trouble(_)) {
                    self.forget(ROOT);
                }
                return self.bring_up_root();
            }
        }
        for hub in 0..HUBS {
            if self.look_at_hub(hub)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn bring_up_root(&mut self) -> Result<(), UsbError> {
        self.host.wait_us(DEBOUNCE_US);
        let speed = self.host.reset_port()?;
        self.host.wait_us(RECOVERY_US);
        self.bring_up(ROOT, speed)
    }

    /// Looks at each port of a hub; true if a device was brought up, or tried to.
    fn look_at_hub(&mut self, index: usize) -> Result<bool, UsbError> {
        let Some(hub) = self.hubs[index] else { return Ok(false) };
        for port in 1..=hub.ports {
            let status = port_status(&mut self.host, hub.to, port)?;
            let changes = status >> 16;
            for change in [C_PORT_CONNECTION, C_PORT_ENABLE, C_PORT_OVER_CURRENT, C_PORT_RESET] {
                if changes & 1 << (change - 16) != 0 {
                    set_port(&mut self.host, hub.to, CLEAR_FEATURE, change, port)?;
                }
            }
            let place = Place { hub: Some(index), port };
            let there = hub.there[usize::from(port)];
            let connected = status & IS_CONNECTED != 0;
            let replugged = changes & 1 << (C_PORT_CONNECTION - 16) != 0;
            let lost = matches!(there, There::Hub | There::Nic) && status & IS_ENABLED == 0;
            if there != There::Nothing && (!connected || replugged || lost) {
                self.forget(place);
                self.set_there(place, There::Nothing);
            }
            let there = self.hubs[index].map(|h| h.there[usize::from(port)]);
            let wanted = match there {
                Some(There::Nothing) => true,
                Some(There::Trouble(tries)) => tries < TRIES,
                _ => false,
            };
            if connected && wanted {
                return self.bring_up_port(place, hub).map(|()| true);
            }
        }
        Ok(false)
    }

    /// Resets a hub's port and brings up what hangs from it. Errors are the hub's; the device's are noted and told.
    fn bring_up_port(&mut self, place: Place, hub: Hub) -> Result<(), UsbError> {
        self.host.wait_us(DEBOUNCE_US);
        set_port(&mut self.host, hub.to, SET_FEATURE, PORT_RESET, place.port)?;
        let until = self.host.now_us() + RESET_PATIENCE_US;
        let status = loop {
            self.host.wait_us(10_000);
            let status = port_status(&mut self.host, hub.to, place.port)?;
            if status >> 16 & 1 << (C_PORT_RESET - 16) != 0 || self.host.now_us() >= until {
                break status;
            }
        };
        set_port(&mut self.host, hub.to, CLEAR_FEATURE, C_PORT_RESET, place.port)?;
        if status & IS_CONNECTED == 0 || status & IS_ENABLED == 0 {
            self.trouble(place, UsbError::Gone);
            return Ok(());
        }
        self.host.wait_us(RECOVERY_US);
        let speed = match (status & IS_LOW_SPEED != 0, status & IS_HIGH_SPEED != 0) {
            (true, _) => Speed::Low,
            (false, true) => Speed::High,
            (false, false) => Speed::Full,
        };
        if speed != hub.to.speed {
            (self.tell)(format_args!("usb: a device of {speed:?} speed is left alone: its hub is faster"));
            self.set_there(place, There::Other);
            return set_port(&mut self.host, hub.to, CLEAR_FEATURE, PORT_ENABLE, place.port);
        }
        match self.bring_up(place, speed) {
            Ok(()) => {}
            Err(why) => {
                self.trouble(place, why);
                set_port(&mut self.host, hub.to, CLEAR_FEATURE, PORT_ENABLE, place.port)?;
            }
        }
        if self.there(place) == There::Other {
            set_port(&mut self.host, hub.to, CLEAR_FEATURE, PORT_ENABLE, place.port)?;
        }
        Ok(())
    }

    /// Brings up the device that answers to address 0.
    fn bring_up(&mut self, place: Place, speed: Speed) -> Result<(), UsbError> {
        let mut to = Target { address: 0, speed, packet: if speed == Speed::Low { 8 } else { 64 } };
        to.packet = descriptor::first_packet(&mut self.host, to)?;
        let address = self.free_address();
        self.host.control_out(to, Request::new(0, SET_ADDRESS, address.into(), 0), &[])?;
        self.host.wait_us(ADDRESS_US);
        to.address = address;
        let device = descriptor::device(&mut self.host, to)?;
        let there = if device.class == CLASS_HUB {
            self.bring_up_hub(place, to)?
        } else {
            self.bring_up_nic(place, to, &device)?
        };
        self.set_there(place, there);
        Ok(())
    }

    fn bring_up_hub(&mut self, place: Place, to: Target) -> Result<There, UsbError> {
        let Some(free) = self.hubs.iter().position(Option::is_none) else {
            (self.tell)(format_args!("usb: too many hubs"));
            return Ok(There::Other);
        };
        let mut bytes = [0; descriptor::CONFIGURATION_MAX];
        let value = descriptor::configuration(&mut self.host, to, 0, &mut bytes)?[5];
        self.host.configure(to, value)?;
        // The hub's own descriptor: length, type 0x29, ports, two bytes, half the milliseconds until power is good.
        let mut own = [0; 8];
        let got = self.host.control_in(to, Request::new(0xA0, 6, 0x2900, 0), &mut own)?;
        if got < 7 || own[1] != 0x29 {
            return Err(UsbError::Odd);
        }
        let ports = own[2].min(PORTS);
        for port in 1..=ports {
            set_port(&mut self.host, to, SET_FEATURE, PORT_POWER, port)?;
        }
        self.host.wait_us(u64::from(own[5]) * 2_000);
        self.hubs[free] = Some(Hub { place, to, ports, there: [There::Nothing; PORTS as usize + 1] });
        self.hurry = true;
        Ok(There::Hub)
    }

    fn bring_up_nic(&mut self, place: Place, to: Target, device: &Device) -> Result<There, UsbError> {
        if self.nic.is_some() {
            return Ok(There::Other);
        }
        let Some(nic) = Nic::find(&mut self.host, to, device, self.mac)? else {
            let (v, p) = (device.vendor, device.product);
            (self.tell)(format_args!("usb: device {v:04x}:{p:04x} is no network adapter that is known here"));
            return Ok(There::Other);
        };
        (self.tell)(format_args!("usb: network adapter: {nic}"));
        self.host.listen(nic.input());
        self.nic = Some((place, nic));
        Ok(There::Nic)
    }

    fn trouble(&mut self, place: Place, why: UsbError) {
        let tries = match self.there(place) {
            There::Trouble(n) => n + 1,
            _ => 1,
        };
        if tries >= TRIES {
            (self.tell)(format_args!("usb: a device at port {} is given up: {why}", place.port));
        }
        self.set_there(place, There::Trouble(tries));
    }

    /// Forgets what hangs from a place, and from there on.
    fn forget(&mut self, place: Place) {
        if self.nic.as_ref().is_some_and(|(at, _)| *at == place) {
            self.host.unlisten();
            self.nic = None;
        }
        if place == ROOT {
            self.host.unlisten();
            (self.root, self.hubs, self.nic) = (There::Nothing, [None; HUBS], None);
            return;
        }
        for index in 0..HUBS {
            let Some(hub) = self.hubs[index].filter(|h| h.place == place) else { continue };
            self.hubs[index] = None;
            for port in 1..=hub.ports {
                self.forget(Place { hub: Some(index), port });
            }
        }
    }

    fn there(&self, place: Place) -> There {
        match place.hub {
            None => self.root,
            Some(hub) => self.hubs[hub].map_or(There::Nothing, |h| h.there[usize::from(place.port)]),
        }
    }

    fn set_there(&mut self, place: Place, to: There) {
        match place.hub {
            None => self.root = to,
            Some(hub) => {
                if let Some(hub) = &mut self.hubs[hub] {
                    hub.there[usize::from(place.port)] = to;
                }
            }
        }
    }

    fn free_address(&mut self) -> u8 {
        loop {
            self.last_address = self.last_address % 127 + 1;
            let used = |to: u8| to == self.last_address;
            let hubs = self.hubs.iter().flatten().any(|h| used(h.to.address));
            if !hubs && !self.nic.as_ref().is_some_and(|(_, nic)| used(nic.address())) {
                return self.last_address;
            }
        }
    }
}

/// A port's state in the lower half, what changed of it in the upper.
fn port_status<H: Host>(host: &mut H, hub: Target, port: u8) -> Result<u32, UsbError> {
    let mut status = [0; 4];
    let got = host.control_in(hub, Request::new(FROM_PORT, GET_STATUS, 0, port.into()), &mut status)?;
    if got == 4 { Ok(u32::from_le_bytes(status)) } else { Err(UsbError::Odd) }
}

fn set_port<H: Host>(host: &mut H, hub: Target, how: u8, feature: u16, port: u8) -> Result<(), UsbError> {
    host.control_out(hub, Request::new(TO_PORT, how, feature, port.into()), &[])
}
