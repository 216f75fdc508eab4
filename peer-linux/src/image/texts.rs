//! What an image says to people and to the firmware.

use super::Board;

/// What a text is to say.
pub struct About<'a> {
    /// The board.
    pub board: Board,
    /// The code by which this device joins.
    pub code: &'a str,
    /// Where the tracker will be, if that is fixed: `ADDR:PORT`.
    pub at: Option<String>,
}

/// `config.txt`, which a Raspberry Pi's firmware reads.
pub fn config(board: Board) -> &'static str {
    match board {
        Board::Virt => "# For a Raspberry Pi alone; QEMU's virt needs none.\n",
        Board::Rpi3 => {
            "\
# The DartSync tracker, and no operating system.
arm_64bit=1
kernel=kernel8.img
# What the tracker is told, where it looks for it.
initramfs dartsync.cfg 0x08000000
"
        }
    }
}

/// `README.txt`.
pub fn readme(about: &About<'_>) -> String {
    let board = match about.board {
        Board::Rpi3 => RPI3,
        Board::Virt => VIRT,
    };
    let address = match &about.at {
        Some(at) => format!("The tracker is at {at}."),
        None => "The tracker asks for an address by DHCP. Devices of the same network find it by themselves, whatever\n\
                 address it gets; to others tell it by `--tracker ADDRESS:7420`. Your router lists it, its console\n\
                 shows it, and `avahi-browse -rt _dartsync._tcp` finds it."
            .into(),
    };
    format!(
        "DartSync tracker for {name}\n\n{board}\n{address}\n\n\
         Then, on the device that made this image:\n\n    dartsync join {code}\n    dartsync run\n\n\
         The code is good for that device alone. It invites the others: `dartsync invite`.\n\n{SECRET}",
        name = about.board.machine(),
        code = about.code,
    )
}

const RPI3: &str = "\
NOTHING OF THIS HAS RUN ON A REAL BOARD. It was tested under QEMU (raspi3b) alone.

1. Format an SD card with FAT32. Copy to it, from the folder boot of the Raspberry Pi firmware
   (https://github.com/raspberrypi/firmware): bootcode.bin, start.elf, fixup.dat.
2. Copy to it, beside them: kernel8.img, dartsync.cfg, config.txt.
3. Put the card into the board, plug in the network cable, power on. The tracker is there some seconds later.
   Nothing is ever written to the card.

Console, if you want to see it: a serial adapter on pins 8 and 10 (GPIO 14 and 15), 115200 baud.
";

const VIRT: &str = "\
Tested under QEMU; it is a machine of QEMU's, and no board.

1. No firmware files are needed.
2. Nothing is to be copied.
3. In this folder:

    qemu-system-aarch64 -M virt -cpu cortex-a53 -m 128 -kernel kernel8.img -initrd dartsync.cfg \\
        -display none -monitor none -serial stdio \\
        -netdev user,id=n0,hostfwd=tcp::7420-:7420 -device virtio-net-device,netdev=n0

That network of QEMU's hides it: tell devices of this computer `--tracker 127.0.0.1:7420`.
";

const SECRET: &str = "\
dartsync.cfg is the tracker's identity: who has it can be your tracker. Keep it, and the recovery words that
`dartsync image` printed, as you keep a key. With the words, `dartsync image --words \"WORDS\"` makes another card of
the same tracker; `dartsync image --update` in this folder renews the program and keeps dartsync.cfg.
";
