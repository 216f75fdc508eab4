//! USB, as far as a network adapter asks for it: what a host controller must offer, and the tree of devices.
//!
//! | module | what it holds |
//! |---|---|
//! | [`descriptor`] | what devices say of themselves |
//! | [`bus`] | which devices are there: enumeration, hubs, what comes and goes |
//! | [`nic`] | the adapters that are known, as one |
//!
//! A device slower than the hub it hangs from needs split transactions, which are not built: it is left alone, and that
//! is said. Ran under QEMU alone so far, never on a board.

pub mod bus;
pub mod descriptor;
pub mod nic;

use core::fmt;

/// How fast a device speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speed {
    /// 1.5 Mbit/s.
    Low,
    /// 12 Mbit/s.
    Full,
    /// 480 Mbit/s.
    High,
}

/// A device that control transfers go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its address; 0 after a reset.
    pub address: u8,
    /// Its speed.
    pub speed: Speed,
    /// The longest packet of its endpoint 0: 8 to 64 bytes.
    pub packet: u8,
}

/// A bulk endpoint of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The device's address.
    pub address: u8,
    /// The endpoint's number, 1 to 15, without its direction.
    pub number: u8,
    /// Its longest packet: 8 to 512 bytes.
    pub packet: u16,
}

/// A request, the first stage of a control transfer; the data's length goes with the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// bmRequestType: direction, class, recipient.
    pub kind: u8,
    /// bRequest.
    pub request: u8,
    /// wValue.
    pub value: u16,
    /// wIndex.
    pub index: u16,
}

impl Request {
    /// A request, in the order of its bytes.
    pub const fn new(kind: u8, request: u8, value: u16, index: u16) -> Request {
        Request { kind, request, value, index }
    }

    /// Its eight bytes, with the length of the data.
    pub fn bytes(&self, length: usize) -> [u8; 8] {
        let [v, i, l] = [self.value, self.index, length as u16].map(u16::to_le_bytes);
        [self.kind, self.request, v[0], v[1], i[0], i[1], l[0], l[1]]
    }

    /// Whether its data come from the device.
    pub const fn is_in(&self) -> bool {
        self.kind & 0x80 != 0
    }
}

/// Why a transfer or a device is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsbError {
    /// The device refuses this request.
    Stall,
    /// No answer in time.
    Timeout,
    /// The wire fails: no device there, or a bad one.
    Broken,
    /// The device says what makes no sense.
    Odd,
    /// There is no device.
    Gone,
    /// No controller, or one of another kind.
    NoController,
}

impl fmt::Display for UsbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UsbError::Stall => "it refuses",
            UsbError::Timeout => "no answer",
            UsbError::Broken => "transfers fail",
            UsbError::Odd => "its answers make no sense",
            UsbError::Gone => "it is gone",
            UsbError::NoController => "no USB controller",
        })
    }
}

/// What a host controller offers: one root port, control transfers, one bulk endpoint that is listened to, and sending.
/// Every call ends within a second.
pub trait Host {
    /// Sets the controller up and gives power to the root port.
    fn start(&mut self) -> Result<(), UsbError>;
    /// Whether something is plugged into the root port, and has been since the last [reset](Host::reset_port).
    fn port(&mut self) -> Port;
    /// Resets what is plugged into the root port: its address is 0 again. Gives its speed.
    fn reset_port(&mut self) -> Result<Speed, UsbError>;
    /// Reads; gives the count of bytes.
    fn control_in(&mut self, to: Target, request: Request, into: &mut [u8]) -> Result<usize, UsbError>;
    /// Writes.
    fn control_out(&mut self, to: Target, request: Request, data: &[u8]) -> Result<(), UsbError>;
    /// From now on what comes from this endpoint is [heard](Host::heard), and raises the controller's interrupt. Nothing
    /// that came from another one is heard any more.
    fn listen(&mut self, to: Endpoint);
    /// Hears nothing any more.
    fn unlisten(&mut self);
    /// What the endpoint has sent, up to a short packet, at most [`HEARD_MAX`] bytes: their count, none if there is
    /// nothing.
    fn heard(&mut self, into: &mut [u8; HEARD_MAX]) -> Result<Option<usize>, UsbError>;
    /// Sends to an endpoint whose first packet bears `toggle`, which is kept for the next. With a zero-length packet at
    /// the end where the last one would be full. At most [`HEARD_MAX`] bytes.
    fn send(&mut self, to: Endpoint, toggle: &mut bool, data: &[u8]) -> Result<(), UsbError>;
    /// Microseconds of some clock that does not step.
    fn now_us(&self) -> u64;

    /// Chooses a configuration by its value.
    fn configure(&mut self, to: Target, value: u8) -> Result<(), UsbError> {
        const SET_CONFIGURATION: u8 = 9;
        self.control_out(to, Request::new(0, SET_CONFIGURATION, value.into(), 0), &[])
    }

    /// Waits.
    fn wait_us(&self, us: u64) {
        let until = self.now_us() + us;
        while self.now_us() < until {
            core::hint::spin_loop();
        }
    }
}

/// The most bytes in one bulk transfer: a frame with all that adapters add to it.
pub const HEARD_MAX: usize = 2048;

/// The state of the root port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    /// Nothing is plugged in.
    Empty,
    /// Something is, and must be reset first.
    New,
    /// What was reset is still there.
    Same,
}

#[cfg(test)]
mod tests;
