"""DartSync and its rivals behind one interface: folders of hosts, `sync` until the others have what host 0 has."""
import http.client, json, os, re, shutil, signal, socket, subprocess
import xml.etree.ElementTree as xml
from net import Program, WORK, run, wait

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
BIN = os.environ.get("DARTSYNC_BIN") or os.path.join(os.environ.get("CARGO_TARGET_DIR") or f"{ROOT}/target", "release")


class System:
    """Host 0 is the author. The last host of the net is spare: DartSync's tracker runs there."""

    name = "?"
    # Whether it runs by itself; else `sync` is a run of it.
    lives = True

    def __init__(self, net, tag):
        self.net, self.tag, self.count = net, tag, len(net.hosts) - 1
        self.dirs = [f"{WORK}/{tag}/{i}" for i in range(self.count)]
        for d in self.dirs:
            os.makedirs(d)
        self.setup()

    def home(self, i):
        """A directory for what the program keeps on host i."""
        d = f"{WORK}/{self.tag}/home{i}"
        os.makedirs(d, exist_ok=True)
        return d

    def program(self, i, *command, env=None):
        return Program(self.net.hosts[i], command, f"{self.home(i)}/log", env)

    def setup(self):
        """What happens once."""

    def start(self):
        """Every host's program runs, and they know each other."""

    def sync(self):
        """Brings host 0's folder to all others; returns at once where the program does so by itself."""

    def settled(self):
        """Nothing is left to do."""

    def counted(self, files):
        """What `settled_one` has to be told of a host that has so many files, where rest alone does not say it has read them."""
        return []

    def stop(self):
        for program in self.programs():
            program.kill(signal.SIGTERM)

    def programs(self):
        return []

    def discard(self):
        self.stop()
        shutil.rmtree(f"{WORK}/{self.tag}", ignore_errors=True)


class DartSync(System):
    name = "dartsync"

    def setup(self):
        self.devices = [None] * self.count
        self.tracker = self.program(self.count, f"{BIN}/dartsync-tracker", "run", "--state", self.home(self.count),
                                    "--listen", f"{self.net.addresses[self.count]}:7420", "--memory", "64M")
        wait(lambda: "invite " in self.tracker.words(), "invite of the tracker", 20)
        self.joined = set()

    def say(self, i, *words):
        return run("nsenter", f"--net=/run/netns/{self.net.hosts[i]}", f"{BIN}/dartsync", "--state", self.home(i), *words)

    def code(self):
        if not self.joined:
            return re.search(r"^invite (\S+)", self.tracker.words(), re.M)[1]
        return next(w for w in self.say(0, "invite").split() if w.startswith("dart1"))

    def start_one(self, i):
        if i not in self.joined:
            self.say(i, "join", self.code(), self.dirs[i], "--name", f"d{i}", "--listen", f"{self.net.addresses[i]}:7421")
            self.joined.add(i)
        at = len(self.devices[i].words()) if self.devices[i] else 0
        self.devices[i] = self.program(i, f"{BIN}/dartsync", "--state", self.home(i), "run")
        wait(lambda: "ready" in self.devices[i].words()[at:], f"ready of device {i}", 60)

    def start(self):
        for i in range(self.count):
            self.start_one(i)
        self.settled()

    def settled_one(self, i):
        self.say(i, "wait", "--timeout", "1800")

    def settled(self):
        for i in range(self.count):
            self.settled_one(i)

    def empty_trash(self):
        for i in range(self.count):
            self.say(i, "trash", "empty")

    def stop_one(self, i, by=signal.SIGTERM):
        self.devices[i].kill(by)

    def programs(self):
        return [d for d in self.devices if d] + [self.tracker]

    def memory(self, i):
        return self.devices[i].memory()


class RsyncDaemon(System):
    name = "rsync daemon, plain"
    lives = False

    def setup(self):
        self.daemons = []
        for i in range(1, self.count):
            at = self.home(i)
            with open(f"{at}/conf", "w") as f:
                f.write(f"use chroot = no\nuid = root\ngid = root\nlock file = {at}/lock\n[m]\npath = {self.dirs[i]}\nread only = no\n")
            self.daemons.append(self.program(i, "rsync", "--daemon", "--no-detach", f"--config={at}/conf", "--port=8730"))
            wait(lambda: self._answers(i), "rsync daemon", 10, 0.05)

    def _answers(self, i):
        ask = ["nsenter", f"--net=/run/netns/{self.net.hosts[i]}", "rsync", f"rsync://{self.net.addresses[i]}:8730/"]
        return subprocess.run(ask, capture_output=True).returncode == 0

    def push(self, i):
        return self.program(0, "rsync", "-a", "--delete", f"{self.dirs[0]}/", f"rsync://{self.net.addresses[i]}:8730/m/")

    def sync(self):
        for push in [self.push(i) for i in range(1, self.count)]:
            push.finish()

    def programs(self):
        return self.daemons


class RsyncSsh(RsyncDaemon):
    """The same through sshd, encrypted."""

    name = "rsync -e ssh"

    def setup(self):
        self.daemons = []
        os.makedirs("/run/sshd", exist_ok=True)
        self.key = f"{self.home(0)}/key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        for i in range(1, self.count):
            at = self.home(i)
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{at}/host")
            with open(f"{at}/conf", "w") as f:
                f.write(f"Port 2222\nHostKey {at}/host\nPidFile none\nStrictModes no\nPermitRootLogin yes\nUsePAM no\n"
                        f"AuthorizedKeysFile {self.key}.pub\nPasswordAuthentication no\n")
            self.daemons.append(self.program(i, "/usr/sbin/sshd", "-D", "-e", "-f", f"{at}/conf"))
            wait(lambda: "Server listening" in self.daemons[-1].words(), "sshd", 10, 0.05)
        self.ssh = f"ssh -q -i {self.key} -p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"

    def push(self, i):
        return self.program(0, "rsync", "-a", "--delete", "-e", self.ssh, f"{self.dirs[0]}/", f"root@{self.net.addresses[i]}:{self.dirs[i]}/")


class Unison(System):
    name = "unison"
    lives = False

    def setup(self):
        self.servers = []
        for i in range(1, self.count):
            at = self.home(i)
            self.servers.append(self.program(i, "unison", "-socket", "8740", env={"UNISON": at, "HOME": at}))
            wait(lambda: "server started" in self.servers[-1].words(), "unison's server", 10, 0.05)

    def sync(self):
        at = self.home(0)
        for i in range(1, self.count):
            self.program(0, "unison", self.dirs[0], f"socket://{self.net.addresses[i]}:8740/{self.dirs[i]}", "-batch", "-auto",
                         "-ui", "text", "-confirmbigdel=false", env={"UNISON": at, "HOME": at}).finish()

    def programs(self):
        return self.servers


class Lsyncd(RsyncDaemon):
    """lsyncd over rsync, with no delay (its default is 15 s)."""

    name = "lsyncd, delay 0"
    lives = True

    def start(self):
        targets = "".join(f'sync{{default.rsync, source="{self.dirs[0]}", target="rsync://{a}:8730/m/", delay=0, rsync={{archive=true}}}}\n'
                          for a in self.net.addresses[1:self.count])
        conf = f"{self.home(0)}/lsyncd.lua"
        with open(conf, "w") as f:
            f.write(f"settings{{nodaemon=true, insist=true}}\n{targets}")
        self.daemons.append(self.program(0, "lsyncd", conf))

    def sync(self):
        pass


class _Local(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


class Syncthing(System):
    """Everybody knows everybody; no discovery, relays or reports; changes wait 1 s (its default is 10 s)."""

    name = "syncthing, delay 1 s"
    delay = "1"

    def setup(self):
        self.nodes, self.identities, self.keys = [None] * self.count, [], []
        for i in range(self.count):
            home = self.home(i)
            run("syncthing", "generate", f"--home={home}", "--no-default-folder", env={**os.environ, "HOME": WORK})
            config = xml.parse(f"{home}/config.xml")
            self.identities.append(config.find("device").get("id"))
            self.keys.append(config.find("gui/apikey").text)
        for i in range(self.count):
            self._configure(i)

    def _configure(self, i):
        file = f"{self.home(i)}/config.xml"
        config = xml.parse(file)
        root = config.getroot()
        for old in root.findall("device") + root.findall("folder"):
            root.remove(old)
        folder = xml.SubElement(root, "folder", id="f", label="f", path=self.dirs[i], type="sendreceive",
                                rescanIntervalS="3600", fsWatcherEnabled="true", fsWatcherDelayS=self.delay)
        for j, identity in enumerate(self.identities):
            xml.SubElement(folder, "device", id=identity)
            device = xml.SubElement(root, "device", id=identity, name=f"n{j}", compression="metadata")
            xml.SubElement(device, "address").text = "dynamic" if i == j else f"tcp://{self.net.addresses[j]}:22000"
        root.find("gui/address").text = self._socket(i)
        options = {"listenAddress": f"tcp://{self.net.addresses[i]}:22000", "urAccepted": "-1", "autoUpgradeIntervalH": "0",
                   "stunKeepaliveStartS": "0", "reconnectionIntervalS": "5"}
        for off in ("globalAnnounceEnabled", "localAnnounceEnabled", "relaysEnabled", "natEnabled", "crashReportingEnabled",
                    "startBrowser", "announceLANAddresses", "setLowPriority"):
            options[off] = "false"
        for key, value in options.items():
            option = root.find(f"options/{key}")
            option = xml.SubElement(root.find("options"), key) if option is None else option
            option.text = value
        config.write(file)

    def _socket(self, i):
        return f"{self.home(i)}/gui.sock"

    def start_one(self, i):
        if os.path.exists(self._socket(i)):
            os.unlink(self._socket(i))
        self.nodes[i] = self.program(i, "syncthing", "serve", f"--home={self.home(i)}", "--no-browser", "--no-restart", "--no-upgrade")
        wait(lambda: self._ask(i, "/rest/system/ping"), "syncthing's answer", 120, 0.01)

    def start(self):
        for i in range(self.count):
            self.start_one(i)
        for i in range(self.count):
            wait(lambda: self._connected(i) == self.count - 1, "syncthing's links", 120, 0.05)
        self.settled()

    def _ask(self, i, what):
        link = _Local(self._socket(i))
        try:
            link.request("GET", what, headers={"X-API-Key": self.keys[i]})
            return json.loads(link.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return None
        finally:
            link.close()

    def _connected(self, i):
        links = self._ask(i, "/rest/system/connections") or {}
        return sum(link["connected"] for link in links.get("connections", {}).values())

    def _idle(self, i):
        s = self._ask(i, "/rest/db/status?folder=f") or {}
        return s.get("state") == "idle" and s.get("needTotalItems") == 0

    def counted(self, files):
        return [files]

    def settled_one(self, i, files=0):
        wait(lambda: self._idle(i) and self._ask(i, "/rest/db/status?folder=f")["localFiles"] >= files, "syncthing's rest", 1800, 0.05)

    def settled(self):
        for i in range(self.count):
            self.settled_one(i)

    def stop_one(self, i, by=signal.SIGTERM):
        self.nodes[i].kill(by)

    def programs(self):
        return [n for n in self.nodes if n]

    def memory(self, i):
        return self.nodes[i].memory()


ALL = {"dartsync": DartSync, "rsync": RsyncDaemon, "ssh": RsyncSsh, "syncthing": Syncthing, "unison": Unison, "lsyncd": Lsyncd}
