"""What is put into folders, and whether it arrived."""
import os, shutil, sqlite3, subprocess, tarfile
from net import MIB, WORK, run

# What each program keeps beside the user's files.
OWN = (".dartsync", ".stfolder", ".stversions")


def noise(path, size):
    """A file that nothing compresses."""
    with open(path, "wb") as f:
        while size > 0:
            f.write(os.urandom(min(size, 16 * MIB)))
            size -= 16 * MIB
    return path


def tree(root, files, size, below):
    """`files` files of `size` bytes, `below` in each directory."""
    for i in range(files):
        if i % below == 0:
            os.makedirs(f"{root}/d{i // below:04}", exist_ok=True)
        with open(f"{root}/d{i // below:04}/f{i:06}", "wb") as f:
            f.write(os.urandom(size))
    return root


def sources():
    """A real source tree: the sources of the libraries that this project is built with (`Cargo.lock`)."""
    to = f"{WORK}/sources"
    if not os.path.exists(to):
        run("cargo", "vendor", "--locked", "--quiet", to, cwd=os.path.join(os.path.dirname(__file__), "../.."))
    return to


def count(root):
    """Files beneath a directory, without what the programs put there for themselves."""
    n, todo = 0, [root]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for e in entries:
                    if e.is_dir(follow_symlinks=False):
                        if e.name not in OWN:
                            todo.append(e.path)
                    elif _is_users(e.name):
                        n += 1
        except FileNotFoundError:
            return -1
    return n


class Arrival:
    """Whether a tree is there. Looked at directory by directory, each no more once it is full: looking costs the two cores
    little, whatever the number of files."""

    def __init__(self, of, at):
        self.left = [(at + d[len(of):], len(fs)) for d, _, fs in os.walk(of)]

    def __call__(self):
        while self.left:
            directory, files = self.left[-1]
            try:
                names = os.listdir(directory)
            except FileNotFoundError:
                return False
            if len(names) < files or sum(map(_is_users, names)) < files:
                return False
            self.left.pop()
        return True


def _is_users(name):
    return name not in OWN and not name.startswith((".syncthing.", ".unison.", "~syncthing")) and not _rsync_part(name)


def _rsync_part(name):
    """`.name.` and six characters: rsync writes there before it renames."""
    return name.startswith(".") and len(name) > 8 and name[-7] == "." and name[-6:].isalnum() and "." in name[1:-7]


def is_there(path, size, older=None):
    """A whole file of that size stands there, and it is not the older one."""
    try:
        s = os.stat(path)
    except OSError:
        return False
    return s.st_size == size and (older is None or (s.st_ino, s.st_mtime_ns) != older)


def stamp(path):
    s = os.stat(path)
    return s.st_ino, s.st_mtime_ns


def same(a, b):
    """Contents and names are equal; else an error names the first difference."""
    exclude = [f"--exclude={own}" for own in OWN]
    run("diff", "-rq", "--no-dereference", *exclude, a, b)


def _rewrite(of, to, change):
    with open(of, "rb") as f:
        data = f.read()
    with open(to, "wb") as f:
        f.write(change(data))


def _overwrite(data):
    middle = len(data) // 2 + 777
    return data[:middle] + os.urandom(4096) + data[middle + 4096:]


def base_noise(to):
    noise(to, 256 * MIB)


def base_database(to):
    """A table of 200,000 rows, some 100 MiB."""
    with sqlite3.connect(to) as db:
        db.execute("pragma journal_mode=off")
        db.execute("create table rows (id integer primary key, text blob)")
        db.executemany("insert into rows values (?, ?)", ((i, os.urandom(480)) for i in range(200_000)))
    db.close()


def update_database(of, to):
    shutil.copyfile(of, to)
    step = 200_000 // 1000
    with sqlite3.connect(to) as db:
        db.execute("pragma journal_mode=off")
        db.executemany("update rows set text = ? where id = ?", ((os.urandom(480), i * step + 7) for i in range(1000)))
    db.close()


def base_archive(to):
    with tarfile.open(to, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(sources(), "sources")


def change_archive(of, to):
    """The same archive with one source file of the middle a little longer."""
    staged = f"{WORK}/archive"
    names = sorted(os.path.join(d, f) for d, _, fs in os.walk(sources()) for f in fs if f.endswith(".rs"))
    chosen = names[len(names) // 2]
    kept = open(chosen, "rb").read()
    try:
        with open(chosen, "ab") as f:
            f.write(b"// one more line " + os.urandom(8).hex().encode() + b"\n")
        base_archive(staged)
    finally:
        with open(chosen, "wb") as f:
            f.write(kept)
    os.replace(staged, to)


# name: how the first version is made, how the next one follows.
DELTAS = {
    "insert 1 B at the start": (base_noise, lambda of, to: _rewrite(of, to, lambda d: b"x" + d)),
    "overwrite 4 KiB in the middle": (base_noise, lambda of, to: _rewrite(of, to, _overwrite)),
    "append 1 MiB": (base_noise, lambda of, to: _rewrite(of, to, lambda d: d + os.urandom(MIB))),
    "move 64 MiB": (base_noise, lambda of, to: _rewrite(of, to, lambda d: d[64 * MIB:] + d[:64 * MIB])),
    "SQLite, 1,000 of 200,000 rows": (base_database, update_database),
    "tar of sources, one file changed": (base_archive, change_archive),
}


def settle():
    """What was written is on the disk, and the machine is quiet."""
    subprocess.run(["sync"], check=True)
