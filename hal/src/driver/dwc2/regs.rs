//! Where the controller's registers are, and their bits. Names are those of its manual.

pub const GAHBCFG: usize = 0x008;
pub const GUSBCFG: usize = 0x00C;
pub const GRSTCTL: usize = 0x010;
pub const GINTMSK: usize = 0x018;
pub const GRXFSIZ: usize = 0x024;
pub const GNPTXFSIZ: usize = 0x028;
pub const GSNPSID: usize = 0x040;
pub const HPTXFSIZ: usize = 0x100;
pub const HCFG: usize = 0x400;
pub const HAINTMSK: usize = 0x418;
pub const HPRT0: usize = 0x440;
pub const PCGCTL: usize = 0xE00;

/// The first channel's registers; the next one's are [`CHANNEL_BYTES`] on.
pub const HCCHAR: usize = 0x500;
pub const HCSPLT: usize = 0x504;
pub const HCINT: usize = 0x508;
pub const HCINTMSK: usize = 0x50C;
pub const HCTSIZ: usize = 0x510;
pub const HCDMA: usize = 0x514;
pub const CHANNEL_BYTES: usize = 0x20;

pub const GAHBCFG_INTERRUPTS: u32 = 1;
pub const GAHBCFG_AXI_WAIT: u32 = 1 << 4;
pub const GAHBCFG_DMA: u32 = 1 << 5;
pub const GUSBCFG_PHY_16_BIT: u32 = 1 << 3;
pub const GUSBCFG_PHY_ULPI: u32 = 1 << 4;
pub const GUSBCFG_SRP_HNP: u32 = 3 << 8;
pub const GUSBCFG_ULPI_VBUS: u32 = 1 << 20;
pub const GUSBCFG_TERM_SEL: u32 = 1 << 22;
/// A host, whatever the plug's fifth pin says.
pub const GUSBCFG_FORCE_HOST: u32 = 1 << 29;
pub const GRSTCTL_CORE: u32 = 1;
pub const GRSTCTL_RX: u32 = 1 << 4;
pub const GRSTCTL_TX: u32 = 1 << 5;
pub const GRSTCTL_TX_ALL: u32 = 0x10 << 6;
pub const GRSTCTL_IDLE: u32 = 1 << 31;
pub const GINT_CHANNELS: u32 = 1 << 25;
pub const HCFG_CLOCK: u32 = 3;
/// The upper half of GSNPSID ("OT2…"): the lower one differs from version to version.
pub const SNPSID: u32 = 0x4F54;

pub const HPRT0_CONNECTED: u32 = 1;
pub const HPRT0_CONNECT_DETECTED: u32 = 1 << 1;
pub const HPRT0_ENABLED: u32 = 1 << 2;
pub const HPRT0_ENABLE_CHANGED: u32 = 1 << 3;
pub const HPRT0_OVERCURRENT_CHANGED: u32 = 1 << 5;
pub const HPRT0_RESET: u32 = 1 << 8;
pub const HPRT0_POWER: u32 = 1 << 12;
pub const HPRT0_SPEED_SHIFT: u32 = 17;
/// Bits that a write of 1 clears: none of them may be written back by chance.
pub const HPRT0_CLEARING: u32 =
    HPRT0_CONNECT_DETECTED | HPRT0_ENABLED | HPRT0_ENABLE_CHANGED | HPRT0_OVERCURRENT_CHANGED;

pub const HCCHAR_ENDPOINT_SHIFT: u32 = 11;
pub const HCCHAR_IN: u32 = 1 << 15;
pub const HCCHAR_LOW_SPEED: u32 = 1 << 17;
pub const HCCHAR_BULK: u32 = 2 << 18;
pub const HCCHAR_ONE_A_FRAME: u32 = 1 << 20;
pub const HCCHAR_ADDRESS_SHIFT: u32 = 22;
pub const HCCHAR_DISABLE: u32 = 1 << 30;
pub const HCCHAR_ENABLE: u32 = 1 << 31;

pub const HCINT_COMPLETE: u32 = 1;
pub const HCINT_HALTED: u32 = 1 << 1;
pub const HCINT_AHB: u32 = 1 << 2;
pub const HCINT_STALL: u32 = 1 << 3;
pub const HCINT_NYET: u32 = 1 << 6;
pub const HCINT_BABBLE: u32 = 1 << 8;
pub const HCINT_ALL: u32 = 0x3FFF;

pub const HCTSIZ_BYTES: u32 = 0x7_FFFF;
pub const HCTSIZ_PACKETS_SHIFT: u32 = 19;
pub const HCTSIZ_PID_SHIFT: u32 = 29;
pub const HCTSIZ_PING: u32 = 1 << 31;

pub const PID_DATA0: u32 = 0;
pub const PID_DATA1: u32 = 2;
pub const PID_SETUP: u32 = 3;
