//! The program `dartsync`; everything is in the library.

fn main() -> std::process::ExitCode {
    dartsync::cli::main()
}
