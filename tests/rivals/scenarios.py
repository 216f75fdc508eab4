"""What is measured. Each scenario runs all systems in turn, round after round, so that each pair has the same minutes."""
import os, shutil, signal, statistics, time
import data
from net import GIB, MIB, Net, WORK, run, say, wait
from systems import ALL

SIZE = int(os.environ.get("BENCH_BULK_MIB", "1024")) * MIB
FILES = int(os.environ.get("BENCH_FILES", "100000"))


class Figures:
    """Values by scenario, metric and system, in the order in which they came."""

    def __init__(self):
        self.values = {}

    def put(self, scenario, metric, unit, system, value):
        self.values.setdefault((scenario, metric, unit), {}).setdefault(system, []).append(value)
        say(f"{scenario}, {metric}: {system}: {value:.4g} {unit}")


def homes(systems, count=2, rate=None, start=True):
    """Each system in a net of its own, one host more than devices."""
    made = []
    for name in systems:
        system = ALL[name](Net(count + 1, rate), f"{name}-{time.monotonic_ns()}")
        # A folder that never was empty: emptying it is rightly questioned.
        data.noise(f"{system.dirs[0]}/keep", 10)
        if start:
            system.start()
            system.sync()
            wait(lambda: all(data.count(d) == 1 for d in system.dirs), f"first file of {name}", 120)
        made.append(system)
    return made


def discard(systems):
    for s in systems:
        s.discard()
        s.net.close()


def others(system, name, size):
    """All others have the whole file."""
    return lambda: all(data.is_there(f"{d}/{name}", size) for d in system.dirs[1:])


def place(system, staged, name):
    """Renames what was made beside the folder into it; then a run of the system, if it needs one. Returns the start."""
    data.settle()
    began = time.perf_counter()
    os.rename(staged, f"{system.dirs[0]}/{name}")
    system.sync()
    return began


def remove(system, name):
    """Takes a file back, everywhere, trash included, so that the next round finds the room."""
    os.unlink(f"{system.dirs[0]}/{name}")
    system.sync()
    wait(lambda: not any(os.path.exists(f"{d}/{name}") for d in system.dirs), f"removal of {name}", 120)
    system.settled()
    getattr(system, "empty_trash", lambda: None)()


def bulk(figures, systems, rounds):
    """1 GiB, from its appearance to its appearance."""
    made = homes(systems)
    data.noise(f"{WORK}/warm", SIZE)  # memory that was never touched is slow the first time
    for r in range(rounds):
        for s in made:
            staged = data.noise(f"{WORK}/{s.tag}/staged", SIZE)
            began = place(s, staged, f"big{r}")
            wait(others(s, f"big{r}", SIZE), "big file")
            figures.put("bulk", f"{SIZE // MIB} MiB until visible", "s", s.name, time.perf_counter() - began)
            run("cmp", f"{s.dirs[0]}/big{r}", f"{s.dirs[1]}/big{r}")
            remove(s, f"big{r}")
    os.unlink(f"{WORK}/warm")
    discard(made)


def join(figures, systems, rounds):
    """1 GiB that one device has, and has hashed where it runs by itself; another starts (DartSync: joins, too), until it has it."""
    data.noise(f"{WORK}/warm", SIZE)
    for r in range(rounds):
        for name in systems:
            [s] = homes([name], 2, start=False)
            data.noise(f"{s.dirs[0]}/big", SIZE)
            if s.lives:
                s.start_one(0)
                s.settled_one(0, *s.counted(2))
            data.settle()
            began = time.perf_counter()
            if s.lives:
                s.start_one(1)
            else:
                s.sync()
            wait(others(s, "big", SIZE), "big file")
            figures.put("join", f"{SIZE // MIB} MiB to a device that joins", "s", s.name, time.perf_counter() - began)
            run("cmp", f"{s.dirs[0]}/big", f"{s.dirs[1]}/big")
            discard([s])
    os.unlink(f"{WORK}/warm")


def _trees(figures, systems, rounds, scenario, metric, make):
    made = homes(systems)
    for r in range(rounds):
        for s in made:
            staged = make(f"{WORK}/{s.tag}/staged")
            arrival = data.Arrival(staged, f"{s.dirs[1]}/tree{r}")
            began = place(s, staged, f"tree{r}")
            wait(arrival, "whole tree", step=0.005)
            figures.put(scenario, metric, "s", s.name, time.perf_counter() - began)
            s.settled()
            data.same(s.dirs[0], s.dirs[1])
    discard(made)


def small(figures, systems, rounds):
    """10,000 files of 4 KiB."""
    _trees(figures, systems, rounds, "small", "10,000 × 4 KiB", lambda at: data.tree(at, 10_000, 4096, 100))


def mixed(figures, systems, rounds):
    """A real source tree."""
    def make(at):
        shutil.copytree(data.sources(), at, symlinks=True)
        return at
    size = int(run("du", "-s", "--apparent-size", "--block-size=1M", data.sources()).split()[0])
    _trees(figures, systems, rounds, "mixed", f"source tree, {data.count(data.sources()):,} files, {size} MiB", make)


def delta(figures, systems, rounds):
    """Edits of a file that is everywhere: bytes on the receiver's wire, both ways, and seconds."""
    for r in range(rounds):
        for edit, (base, change) in data.DELTAS.items():
            base(f"{WORK}/base")
            change(f"{WORK}/base", f"{WORK}/next")
            made = homes(systems)
            for s in made:
                _one_delta(figures, s, edit)
            discard(made)
            os.unlink(f"{WORK}/base")
            os.unlink(f"{WORK}/next")


def _one_delta(figures, s, edit):
    staged = f"{WORK}/{s.tag}/staged"
    shutil.copyfile(f"{WORK}/base", staged)
    place(s, staged, "file")
    wait(others(s, "file", os.path.getsize(f"{WORK}/base")), "base")
    s.settled()
    time.sleep(2.5)  # what is said after the base is not counted; and who goes by whole seconds is to see another time
    shutil.copyfile(f"{WORK}/next", staged)
    size, older = os.path.getsize(staged), data.stamp(f"{s.dirs[1]}/file")
    before = s.net.wire(1)
    began = place(s, staged, "file")
    wait(lambda: data.is_there(f"{s.dirs[1]}/file", size, older), "edit")
    figures.put("delta seconds", edit, "s", s.name, time.perf_counter() - began)
    s.settled()
    time.sleep(0.5)
    figures.put("delta wire", edit, "KiB", s.name, (s.net.wire(1) - before) / 1024)
    run("cmp", f"{s.dirs[0]}/file", f"{s.dirs[1]}/file")


def _swarm(figures, systems, rounds, count, rate, size):
    ideal = size * 8 / rate
    for r in range(rounds):
        for name in systems:
            [s] = homes([name], count + 1, f"{rate}")
            staged = data.noise(f"{WORK}/{s.tag}/staged", size)
            before = s.net.sent(0)
            began = place(s, staged, "big")
            wait(others(s, "big", size), "big file everywhere")
            metric = f"{size // MIB} MiB to {count}, {rate // 1_000_000} Mbit/s out each"
            figures.put("swarm time", metric, "× one copy", s.name, (time.perf_counter() - began) / ideal)
            figures.put("swarm author", metric, "copies sent", s.name, (s.net.sent(0) - before) / size)
            discard([s])


def swarm3(figures, systems, rounds):
    """A file to three others, uplinks shaped."""
    _swarm(figures, systems, rounds, 3, 400_000_000, SIZE)


def swarm7(figures, systems, rounds):
    """A file to seven others, uplinks shaped."""
    _swarm(figures, systems, rounds, 7, 200_000_000, SIZE // 4)


def latency(figures, systems, rounds):
    """1 KiB saved until it is visible; thirty times a round."""
    made = homes(systems)
    for r in range(rounds):
        for s in made:
            values = []
            for i in range(30):
                name = f"note{r}-{i}"
                staged = data.noise(f"{WORK}/{s.tag}/staged", 1024)
                began = time.perf_counter()
                os.rename(staged, f"{s.dirs[0]}/{name}")
                s.sync()
                wait(others(s, name, 1024), "small file", step=0.0002)
                values.append((time.perf_counter() - began) * 1000)
                time.sleep(0.1)
            figures.put("latency", "1 KiB until visible, median", "ms", s.name, statistics.median(values))
            figures.put("latency", "1 KiB until visible, 95 of 100", "ms", s.name, sorted(values)[len(values) * 95 // 100])
    discard(made)


def resume(figures, systems, rounds):
    """kill -9 of the receiver at half of a file, and its restart: what came twice."""
    for r in range(rounds):
        for name in systems:
            [s] = homes([name], 2, "2gbit")
            staged = data.noise(f"{WORK}/{s.tag}/staged", SIZE)
            before = s.net.wire(1)
            os.rename(staged, f"{s.dirs[0]}/big")
            if s.lives:
                wait(lambda: s.net.wire(1) - before > SIZE / 2, "half of it")
                s.stop_one(1, signal.SIGKILL)
                s.start_one(1)
            else:
                push = s.push(1)
                wait(lambda: s.net.wire(1) - before > SIZE / 2, "half of it")
                push.kill(signal.SIGKILL)
                s.sync()
            wait(others(s, "big", SIZE), "big file")
            s.settled()
            figures.put("resume", "bytes more than one copy", "% of it", s.name, (s.net.wire(1) - before) / SIZE * 100 - 100)
            run("cmp", f"{s.dirs[0]}/big", f"{s.dirs[1]}/big")
            discard([s])


def rename(figures, systems, rounds):
    """A file of 1 GiB, a directory of 10,000 files, under another name."""
    for r in range(rounds):
        made = homes(systems)
        for s in made:
            data.noise(f"{WORK}/{s.tag}/staged", SIZE)
            place(s, f"{WORK}/{s.tag}/staged", "big")
            place(s, data.tree(f"{WORK}/{s.tag}/tree", 10_000, 4096, 100), "tree")
            wait(lambda: data.count(s.dirs[1]) == 10_002, "tree and file", step=0.05)
            s.settled()
            for what, metric, there in (
                ("big", f"{SIZE // MIB} MiB file", lambda: data.is_there(f"{s.dirs[1]}/big2", SIZE)),
                ("tree", "directory of 10,000 files", data.Arrival(f"{s.dirs[1]}/tree", f"{s.dirs[1]}/tree2")),
            ):
                time.sleep(2.5)
                before = s.net.wire(1)
                began = place(s, f"{s.dirs[0]}/{what}", f"{what}2")
                wait(lambda: there() and not os.path.exists(f"{s.dirs[1]}/{what}"), "renamed", step=0.005)
                figures.put("rename seconds", metric, "s", s.name, time.perf_counter() - began)
                s.settled()
                figures.put("rename wire", metric, "KiB", s.name, (s.net.wire(1) - before) / 1024)
        discard(made)


def scan(figures, systems, rounds):
    """Many files of 1 KiB that are there already: first scan, to a second device, restart, memory."""
    files = f"{FILES:,} × 1 KiB"
    for r in range(rounds):
        for name in systems:
            [s] = homes([name], 2, start=False)
            data.tree(f"{s.dirs[0]}/tree", FILES, 1024, 100)
            data.settle()
            began = time.perf_counter()
            if not s.lives:
                s.sync()
                figures.put("scan", f"{files} to a second device", "s", s.name, time.perf_counter() - began)
                began = time.perf_counter()
                s.sync()
                figures.put("scan", "nothing changed", "s", s.name, time.perf_counter() - began)
            else:
                _living_scan(figures, s, files, began)
            data.same(s.dirs[0], s.dirs[1])
            discard([s])


def _living_scan(figures, s, files, began):
    settle = lambda i: s.settled_one(i, *s.counted(FILES))
    s.start_one(0)
    settle(0)
    figures.put("scan", f"{files} first scan", "s", s.name, time.perf_counter() - began)
    began = time.perf_counter()
    s.start_one(1)
    wait(data.Arrival(f"{s.dirs[0]}/tree", f"{s.dirs[1]}/tree"), "whole tree", step=0.01)
    figures.put("scan", f"{files} to a second device", "s", s.name, time.perf_counter() - began)
    settle(1)
    for i, role in enumerate(("author", "receiver")):
        figures.put("memory", f"{files}, {role}, at most", "MiB", s.name, s.memory(i)[1])
    s.stop_one(0)
    began = time.perf_counter()
    s.start_one(0)
    settle(0)
    figures.put("scan", "nothing changed", "s", s.name, time.perf_counter() - began)
    time.sleep(2)
    figures.put("memory", f"{files}, after a restart", "MiB", s.name, s.memory(0)[0])


# name: what it does, which systems take part.
SCENARIOS = {
    "bulk": (bulk, ["dartsync", "rsync", "ssh", "syncthing", "unison"]),
    "join": (join, ["dartsync", "rsync", "ssh", "syncthing", "unison"]),
    "small": (small, ["dartsync", "rsync", "ssh", "syncthing", "unison"]),
    "mixed": (mixed, ["dartsync", "rsync", "ssh", "syncthing", "unison"]),
    "delta": (delta, ["dartsync", "rsync", "syncthing", "unison"]),
    "swarm3": (swarm3, ["dartsync", "rsync", "syncthing"]),
    "swarm7": (swarm7, ["dartsync", "rsync", "syncthing"]),
    "latency": (latency, ["dartsync", "rsync", "syncthing", "unison", "lsyncd"]),
    "resume": (resume, ["dartsync", "rsync", "syncthing"]),
    "rename": (rename, ["dartsync", "rsync", "syncthing", "unison"]),
    "scan": (scan, ["dartsync", "rsync", "syncthing", "unison"]),
}
