//! The control socket: commands of this user, a line each way, several at once.

use crate::config::State;
use crate::control::{REPLY_MAX, REQUEST_MAX, Reply, Request, short};
use anyhow::{Context, Result};
use dartsync_hal::net_std::NetStd;
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

/// Commands at once.
const CLIENTS: usize = 64;
/// How long a command may take to read its answer, µs.
const PATIENCE: u64 = 10_000_000;
/// How often an answer that did not go out is tried again, µs.
const RETRY: u64 = 5_000;

/// Names a command that waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ClientId(pub u32);

struct Client {
    socket: UnixStream,
    /// Its one request is read.
    asked: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    /// When an answer that does not go out is given up.
    until: Option<u64>,
}

/// The socket and who is connected.
pub struct Clients {
    listener: UnixListener,
    path: PathBuf,
    open: BTreeMap<ClientId, Client>,
    first_token: u32,
    next: u32,
}

impl Clients {
    /// Listens. `token` is the listener's in `net`; those from `token + 1` on are the clients'.
    pub fn listen(state: &State, net: &mut NetStd, token: u32) -> Result<Clients> {
        let path = state.socket();
        let place = || path.display().to_string();
        // What is there is left by a device that was killed: the lock says that none runs.
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).with_context(place),
            _ => {}
        }
        let listener = UnixListener::bind(short(&path)?.path()).with_context(place)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).with_context(place)?;
        listener.set_nonblocking(true)?;
        net.watch(listener.as_fd(), token).with_context(place)?;
        Ok(Clients { listener, path, open: BTreeMap::new(), first_token: token, next: 0 })
    }

    /// Reads what a ready token has to say; requests that are whole are added to `requests`. Clients that are gone are
    /// added to `gone`.
    pub fn ready(
        &mut self,
        net: &mut NetStd,
        now: u64,
        token: u32,
        requests: &mut Vec<(ClientId, Request)>,
        gone: &mut Vec<ClientId>,
    ) {
        if token == self.first_token {
            return self.accept(net);
        }
        let id = ClientId(token - self.first_token);
        let Some(client) = self.open.get_mut(&id) else { return };
        match client.read() {
            Said::Nothing => {}
            Said::Request(r) => requests.push((id, r)),
            Said::Nonsense(why) => self.reply(id, &Reply::Failed(why), now),
            Said::End => {
                gone.push(id);
                self.close(net, id);
            }
        }
    }

    fn accept(&mut self, net: &mut NetStd) {
        while let Ok((socket, _)) = self.listener.accept() {
            if self.open.len() >= CLIENTS || socket.set_nonblocking(true).is_err() {
                continue;
            }
            // Tokens are a u32's worth: a client of 4 billion commands ago is gone.
            self.next = self.next % (u32::MAX - self.first_token - 1) + 1;
            let id = ClientId(self.next);
            if net.watch(socket.as_fd(), self.first_token + id.0).is_ok() {
                let (input, output) = (Vec::new(), Vec::new());
                self.open.insert(id, Client { socket, asked: false, input, output, sent: 0, until: None });
            }
        }
    }

    /// Answers; what does not go out at once goes later, for 10 s at most.
    pub fn reply(&mut self, id: ClientId, reply: &Reply, now: u64) {
        let Some(client) = self.open.get_mut(&id) else { return };
        let mut line = serde_json::to_vec(reply).unwrap_or_default();
        if line.len() >= REPLY_MAX {
            let long = Reply::Failed("the answer is too long".into());
            line = serde_json::to_vec(&long).unwrap_or_default();
        }
        line.push(b'\n');
        client.output.extend_from_slice(&line);
        client.until = Some(now + PATIENCE);
    }

    /// When [`flush`](Clients::flush) is due.
    pub fn deadline(&self, now: u64) -> Option<u64> {
        self.open.values().any(|c| !c.output.is_empty()).then_some(now + RETRY)
    }
    /// Sends what goes out; drops who does not read.
    pub fn flush(&mut self, net: &mut NetStd, now: u64, gone: &mut Vec<ClientId>) {
        for (id, client) in &mut self.open {
            if !client.write() || client.until.is_some_and(|t| t < now) {
                gone.push(*id);
            }
        }
        gone.iter().for_each(|id| self.close(net, *id));
    }

    fn close(&mut self, net: &mut NetStd, id: ClientId) {
        if let Some(client) = self.open.remove(&id) {
            let _ = net.unwatch(client.socket.as_fd());
        }
    }
}

/// What a client said.
enum Said {
    /// Not a whole line yet.
    Nothing,
    /// This.
    Request(Request),
    /// A line that is no request, and why.
    Nonsense(String),
    /// It is gone, or says more than its one line.
    End,
}

impl Client {
    /// Reads what is there.
    fn read(&mut self) -> Said {
        let mut buf = [0; 4096];
        loop {
            match self.socket.read(&mut buf) {
                Ok(n) if n == 0 || self.asked || self.input.len() + n > REQUEST_MAX => return Said::End,
                Ok(n) => self.input.extend_from_slice(&buf[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Said::End,
            }
        }
        if self.input.last() != Some(&b'\n') {
            return Said::Nothing;
        }
        self.asked = true;
        match serde_json::from_slice(&std::mem::take(&mut self.input)) {
            Ok(request) => Said::Request(request),
            Err(e) => {
                Said::Nonsense(format!("a request unknown here; are both programs of one version? {e}"))
            }
        }
    }
    /// Writes as much as goes; false if the client is gone.
    fn write(&mut self) -> bool {
        while self.sent < self.output.len() {
            match self.socket.write(&self.output[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        (self.sent, self.until) = (0, None);
        self.output = Vec::new();
        true
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Text, call};
    use dartsync_hal::net::{Event, Net};
    use std::time::Duration;

    const TOKEN: u32 = 3;

    struct Here {
        state: State,
        net: NetStd,
        clients: Clients,
        requests: Vec<(ClientId, Request)>,
        gone: Vec<ClientId>,
    }

    impl Here {
        fn new(name: &str) -> Here {
            // A path longer than a socket's address holds.
            let dir = format!("dartsync-clients-{name}-{}-{}", "x".repeat(100), std::process::id());
            let state = State::locate(Some(std::env::temp_dir().join(dir))).unwrap();
            state.create().unwrap();
            let mut net = NetStd::new(None, 4).unwrap();
            let clients = Clients::listen(&state, &mut net, TOKEN).unwrap();
            Here { state, net, clients, requests: Vec::new(), gone: Vec::new() }
        }
        /// Reads until something was asked or someone is gone.
        fn until(&mut self, enough: impl Fn(&Here) -> bool) {
            while !enough(self) {
                self.net.wait(u64::MAX).unwrap();
                while let Some(event) = self.net.next_event() {
                    let Event::Ready(token) = event else { continue };
                    self.clients.ready(&mut self.net, 0, token, &mut self.requests, &mut self.gone);
                }
                self.clients.flush(&mut self.net, 0, &mut self.gone);
            }
        }
    }

    impl Drop for Here {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.state.dir());
        }
    }

    #[test]
    fn several_commands_are_answered_each_its_own() {
        let mut here = Here::new("several");
        let asking: Vec<_> = (0..5)
            .map(|i| {
                let state = here.state.clone();
                let request = Request::Unlink { label: i.to_string() };
                std::thread::spawn(move || call(&state, &request, Some(Duration::from_secs(10))))
            })
            .collect();
        here.until(|h| h.requests.len() == 5);
        for (id, request) in std::mem::take(&mut here.requests) {
            let Request::Unlink { label } = request else { panic!("{request:?}") };
            here.clients.reply(id, &Reply::text(label.repeat(100_000)), 0);
        }
        while asking.iter().any(|a| !a.is_finished()) {
            here.clients.flush(&mut here.net, 0, &mut here.gone);
        }
        for (i, a) in asking.into_iter().enumerate() {
            let text = a.join().unwrap().unwrap().expect("it runs").read::<Text>().unwrap().text;
            assert_eq!(text, i.to_string().repeat(100_000));
        }
        let mode = fs::metadata(here.state.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn nonsense_is_answered_and_who_says_too_much_or_reads_too_slowly_is_dropped() {
        let mut here = Here::new("nonsense");
        let dial = |h: &Here| UnixStream::connect(short(&h.state.socket()).unwrap().path()).unwrap();
        let (nonsense, mut long, slow) = (dial(&here), dial(&here), dial(&here));
        (&nonsense).write_all(b"{\"do\":\"what\"}\n").unwrap();
        (&slow).write_all(b"{\"do\":\"status\"}\n").unwrap();
        let writer = std::thread::spawn(move || long.write_all(&vec![b'x'; REQUEST_MAX * 4]));
        here.until(|h| h.requests.len() == 1 && !h.gone.is_empty());
        assert!(writer.join().unwrap().is_err() || here.clients.open.len() == 2);
        let mut said = [0; 256];
        let n = (&nonsense).read(&mut said).unwrap();
        assert!(String::from_utf8_lossy(&said[..n]).contains("failed"));
        here.clients.reply(here.requests[0].0, &Reply::text("y".repeat(4 << 20)), 0);
        here.gone.clear();
        here.clients.flush(&mut here.net, PATIENCE + 1, &mut here.gone);
        assert_eq!(here.gone, [here.requests[0].0], "it does not read");
    }
}
