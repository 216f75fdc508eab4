"""Hosts of their own (network namespaces on one bridge), programs in them, and bytes counted on their interfaces."""
import atexit, ctypes, json, os, shutil, signal, subprocess, sys, tempfile, time

MIB, GIB = 1 << 20, 1 << 30
_set_death_signal = ctypes.CDLL(None).prctl
_started, _nets = [], []


def work():
    """A directory for everything of this run; on tmpfs unless BENCH_DIR says otherwise."""
    base = os.environ.get("BENCH_DIR") or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())
    return tempfile.mkdtemp(prefix=f"dartsync-bench-{os.getpid()}-", dir=base)


WORK = work()


@atexit.register
def _clean():
    for program in _started:
        program.kill()
    for net in _nets:
        net.close()
    shutil.rmtree(WORK, ignore_errors=True)


for _signal in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(_signal, lambda *_: sys.exit(1))


def say(*words):
    print(f"[{time.strftime('%H:%M:%S')}]", *words, file=sys.stderr, flush=True)


def run(*command, **options):
    """Runs to the end; what it printed. An error says what the program said."""
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.returncode}: {(done.stderr or done.stdout)[-600:]}")
    return done.stdout


def wait(condition, what, timeout=1800, step=0.002):
    """Polls until the condition holds; seconds since the call."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > timeout:
            raise TimeoutError(f"no {what} in {timeout} s")
        time.sleep(step)
    return time.perf_counter() - began


class Program:
    """A program that runs in a host until it is ended; it ends with this script at the latest."""

    def __init__(self, host, command, log, env=None):
        command = ["nsenter", f"--net=/run/netns/{host}", *map(str, command)]
        self.log = log
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                preexec_fn=lambda: _set_death_signal(1, signal.SIGKILL), env={**os.environ, "HOME": WORK, **(env or {})})
        _started.append(self)

    def alive(self):
        return self.process.poll() is None

    def finish(self, good=(0,)):
        code = self.process.wait(1800)
        if code not in good:
            raise RuntimeError(f"{self.process.args}: {code}: {self.words()[-600:]}")

    def words(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def kill(self, by=signal.SIGKILL):
        if self.alive():
            try:
                os.killpg(self.process.pid, by)
            except ProcessLookupError:
                pass
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def memory(self):
        """Resident MiB now and at most, of the program and its children."""
        now, most = 0, 0
        for pid in self._tree():
            with open(f"/proc/{pid}/status") as f:
                for line in f:
                    now += int(line.split()[1]) if line.startswith("VmRSS") else 0
                    most += int(line.split()[1]) if line.startswith("VmHWM") else 0
        return now / 1024, most / 1024

    def _tree(self):
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as f:
                    todo += f.read().split()
        return found


class Net:
    """`count` hosts 10.77.0.1… on one bridge; `rate` shapes what each of them sends."""

    def __init__(self, count, rate=None):
        tag = f"db{os.getpid()}x{len(_nets)}"
        self.hub, self.hosts = f"{tag}h", [f"{tag}n{i}" for i in range(count)]
        self.addresses = [f"10.77.0.{i + 1}" for i in range(count)]
        _nets.append(self)
        for host in [self.hub, *self.hosts]:
            run("ip", "netns", "add", host)
            run("ip", "-n", host, "link", "set", "lo", "up")
        run("ip", "-n", self.hub, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.hub, "link", "set", "br0", "up")
        for i, (host, address) in enumerate(zip(self.hosts, self.addresses)):
            run("ip", "-n", self.hub, "link", "add", f"p{i}", "type", "veth", "peer", "name", "eth0", "netns", host)
            run("ip", "-n", self.hub, "link", "set", f"p{i}", "master", "br0", "up")
            run("ip", "-n", host, "addr", "add", f"{address}/24", "dev", "eth0")
            run("ip", "-n", host, "link", "set", "eth0", "up")
            if rate:
                run("tc", "-n", host, "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "256kb", "latency", "50ms")

    def _count(self, i):
        return json.loads(run("ip", "-n", self.hosts[i], "-j", "-s", "link", "show", "eth0"))[0]["stats64"]

    def sent(self, i):
        return self._count(i)["tx"]["bytes"]

    def wire(self, i):
        """Bytes on the wire of a host, both ways."""
        count = self._count(i)
        return count["tx"]["bytes"] + count["rx"]["bytes"]

    def close(self):
        for host in [self.hub, *self.hosts]:
            subprocess.run(["ip", "netns", "del", host], stderr=subprocess.DEVNULL)
