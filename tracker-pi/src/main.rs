//! `dartsync-tracker`: see [`dartsync_tracker::linux`].

fn main() -> std::process::ExitCode {
    dartsync_tracker::linux::main_with(std::env::args_os())
}
