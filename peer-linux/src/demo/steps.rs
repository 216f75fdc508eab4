//! The steps of the show, each judged by the trees on disk.

use super::Interrupts;
use super::home::{Device, Home};
use super::tree::{self, Thing, Tree};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How long a step may take before it counts as failed.
const LIMIT: Duration = Duration::from_secs(30);
/// Bytes of the large file.
const LARGE: usize = 32 << 20;

/// One step: does something, waits until it holds, tells what it saw.
type Step = fn(&mut Show<'_>) -> Result<String>;

/// All steps in order; the first that does not hold ends the show.
pub fn all(home: &mut Home, interrupts: &Interrupts) -> Result<()> {
    let steps: [(&str, Step); 11] = [
        ("create", create),
        ("edit", edit),
        ("rename", rename),
        ("remove", remove),
        ("folder tree", folder_tree),
        ("large file", large_file),
        ("delta", delta),
        ("second folder", second_folder),
        ("conflict", conflict),
        ("restore", restore),
        ("offline", offline),
    ];
    for (name, step) in steps {
        let mut show = Show { home, interrupts };
        let told = step(&mut show).with_context(|| format!("step \"{name}\""))?;
        println!("{name:>14}: {told}");
    }
    Ok(())
}

struct Show<'a> {
    home: &'a mut Home,
    interrupts: &'a Interrupts,
}

impl Show<'_> {
    fn device(&self, i: usize) -> &Device {
        &self.home.devices[i]
    }
    fn last(&self) -> usize {
        self.home.devices.len() - 1
    }
    fn roots(&self) -> Vec<PathBuf> {
        self.home.devices.iter().map(|d| d.root.clone()).collect()
    }
    /// Waits until `holds` does on every root; how long it took since `since`.
    fn until(&self, since: Instant, roots: &[PathBuf], holds: impl Fn(&Path) -> bool) -> Result<Duration> {
        for root in roots {
            while !holds(root) {
                self.pause(since, || format!("{}: it did not arrive", root.display()))?;
            }
        }
        Ok(since.elapsed())
    }
    /// Waits until all roots hold the same tree; how long it took since `since`, and the tree.
    fn equal(&self, since: Instant, roots: &[PathBuf]) -> Result<(Duration, Tree)> {
        loop {
            let trees: std::io::Result<Vec<Tree>> = roots.iter().map(|r| tree::read(r)).collect();
            let took = since.elapsed();
            let why = match trees {
                Err(e) => format!("trees in motion: {e}"),
                Ok(mut trees) => match trees[1..].iter().find_map(|t| tree::difference(&trees[0], t)) {
                    None => return Ok((took, trees.swap_remove(0))),
                    Some(d) => d,
                },
            };
            self.pause(since, || why)?;
        }
    }
    fn pause(&self, since: Instant, why: impl FnOnce() -> String) -> Result<()> {
        self.interrupts.check()?;
        if since.elapsed() > LIMIT {
            let logs = self.home.devices.iter().map(|d| format!("\n  {}: {}", d.name, d.last_words()));
            bail!("{} within {} s{}", why(), LIMIT.as_secs(), logs.collect::<String>());
        }
        std::thread::sleep(Duration::from_micros(300));
        Ok(())
    }
    /// Waits until `holds` everywhere, then that all trees are equal and as `judge` wants them.
    fn settle(
        &self,
        since: Instant,
        holds: impl Fn(&Path) -> bool,
        judge: impl Fn(&Tree) -> bool,
    ) -> Result<Duration> {
        let roots = self.roots();
        let took = self.until(since, &roots, holds)?;
        let (_, tree) = self.equal(since, &roots)?;
        ensure!(judge(&tree), "the trees are equal but not as they should be: {:?}", tree.keys());
        Ok(took)
    }
}

fn ms(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}

fn holds(root: &Path, name: &str, text: &[u8]) -> bool {
    fs::read(root.join(name)).is_ok_and(|b| b == text)
}

fn absent(root: &Path, name: &str) -> bool {
    fs::symlink_metadata(root.join(name)).is_err()
}

fn create(show: &mut Show<'_>) -> Result<String> {
    let from = show.device(0);
    fs::write(from.root.join("notes.txt"), "first")?;
    let since = Instant::now();
    let took = show.settle(since, |r| holds(r, "notes.txt", b"first"), |t| t.len() == 1)?;
    Ok(format!("{} saved notes.txt; on every device after {}", from.name, ms(took)))
}

fn edit(show: &mut Show<'_>) -> Result<String> {
    let from = show.device(1);
    fs::write(from.root.join("notes.txt"), "second, longer")?;
    let since = Instant::now();
    let took = show.settle(since, |r| holds(r, "notes.txt", b"second, longer"), |t| t.len() == 1)?;
    Ok(format!("{} changed it; everywhere after {}", from.name, ms(took)))
}

fn rename(show: &mut Show<'_>) -> Result<String> {
    let from = show.device(show.last());
    fs::rename(from.root.join("notes.txt"), from.root.join("letter.txt"))?;
    let since = Instant::now();
    let there = |r: &Path| holds(r, "letter.txt", b"second, longer") && absent(r, "notes.txt");
    let took = show.settle(since, there, |t| t.len() == 1)?;
    Ok(format!("{} renamed it to letter.txt; everywhere after {}", from.name, ms(took)))
}

fn remove(show: &mut Show<'_>) -> Result<String> {
    let from = show.device(0);
    let root = from.root.clone();
    fs::write(root.join("scrap"), "short-lived")?;
    show.settle(Instant::now(), |r| holds(r, "scrap", b"short-lived"), |t| t.len() == 2)?;
    fs::remove_file(root.join("scrap"))?;
    let since = Instant::now();
    let took = show.settle(since, |r| absent(r, "scrap"), |t| t.len() == 1)?;
    Ok(format!("{} removed a file; gone everywhere after {}", from.name, ms(took)))
}

fn folder_tree(show: &mut Show<'_>) -> Result<String> {
    let from = show.device(0);
    let root = from.root.clone();
    for i in 0..5 {
        let dir = root.join(format!("tree/branch {i}/leaf"));
        fs::create_dir_all(&dir)?;
        for j in 0..20 {
            fs::write(dir.join(format!("{j}.txt")), format!("{i} {j}"))?;
        }
    }
    fs::create_dir_all(root.join("tree/empty"))?;
    symlink("branch 0/leaf/0.txt", root.join("tree/link"))?;
    fs::set_permissions(root.join("tree/branch 1/leaf/1.txt"), fs::Permissions::from_mode(0o600))?;
    let since = Instant::now();
    let (took, tree) = show.equal(since, &show.roots())?;
    let files = tree.values().filter(|t| matches!(t, Thing::File(..))).count();
    ensure!(files == 101 && tree.len() == 101 + 13, "{files} files, {} paths arrived", tree.len());
    Ok(format!("{} made 100 files in 12 directories; equal everywhere after {}", from.name, ms(took)))
}

fn large_file(show: &mut Show<'_>) -> Result<String> {
    let from = show.device(0);
    let mut bytes = vec![0; LARGE];
    blake3::Hasher::new().update(b"demo").finalize_xof().fill(&mut bytes);
    let before = from.traffic("peer_sent")?;
    fs::write(from.root.join("large"), &bytes)?;
    let since = Instant::now();
    let size = bytes.len() as u64;
    let whole = |r: &Path| fs::symlink_metadata(r.join("large")).is_ok_and(|m| m.len() == size);
    let took = show.settle(since, whole, |t| t.contains_key(Path::new("large")))?;
    let copies = (from.traffic("peer_sent")? - before) as f64 / size as f64;
    let (name, others) = (&from.name, show.last());
    Ok(format!(
        "{name} saved {} MiB; everywhere after {}, of {others} copies {copies:.1} came from {name}",
        LARGE >> 20,
        ms(took)
    ))
}

fn delta(show: &mut Show<'_>) -> Result<String> {
    let (from, to) = (show.device(0), show.device(1));
    let path = from.root.join("large");
    let mut bytes = fs::read(&path)?;
    bytes.insert(0, b'+');
    blake3::Hasher::new().update(b"news").finalize_xof().fill(&mut bytes[LARGE / 2..][..4096]);
    let before = to.traffic("peer_received")?;
    fs::write(&path, &bytes)?;
    let since = Instant::now();
    let whole = |r: &Path| fs::symlink_metadata(r.join("large")).is_ok_and(|m| m.len() == bytes.len() as u64);
    let took = show.settle(since, whole, |_| true)?;
    ensure!(holds(&to.root, "large", &bytes), "it is not what {} wrote", from.name);
    let came = to.traffic("peer_received")? - before;
    ensure!(came < 1 << 20, "{came} bytes came to {}", to.name);
    Ok(format!(
        "{} put a byte before it and 4 KiB into its middle; everywhere after {}, {} KiB came to {}",
        from.name,
        ms(took),
        came.div_ceil(1024),
        to.name
    ))
}

fn second_folder(show: &mut Show<'_>) -> Result<String> {
    let (a, b) = (show.device(0), show.device(1));
    let roots = [a.beside("photos"), b.beside("photos")];
    roots.iter().try_for_each(fs::create_dir_all)?;
    fs::write(roots[0].join("sea.jpg"), "waves")?;
    let since = Instant::now();
    a.command(&["add".as_ref(), roots[0].as_os_str(), "--label".as_ref(), "photos".as_ref()])?;
    b.command(&["link".as_ref(), "photos".as_ref(), roots[1].as_os_str()])?;
    show.until(since, &roots, |r| holds(r, "sea.jpg", b"waves"))?;
    let first = since.elapsed();
    fs::write(roots[1].join("hill.jpg"), "green")?;
    let since = Instant::now();
    let took = show.until(since, &roots, |r| holds(r, "hill.jpg", b"green"))?;
    let (_, tree) = show.equal(since, &roots)?;
    ensure!(tree.len() == 2, "the second folder holds {:?}", tree.keys());
    for d in &show.home.devices[2..] {
        ensure!(absent(&d.beside("photos"), "."), "{} has a folder it did not link", d.name);
    }
    let names = format!("{} and {}", a.name, b.name);
    Ok(format!("{names} share \"photos\" after {}, a file in it after {}", ms(first), ms(took)))
}

fn conflict(show: &mut Show<'_>) -> Result<String> {
    let away = show.last();
    show.home.devices[away].stop()?;
    let roots = show.roots();
    let now = SystemTime::now();
    for (i, (text, age)) in [(0, ("earlier", 60)), (away, ("later", 30))] {
        let path = roots[i].join("letter.txt");
        fs::write(&path, text)?;
        fs::File::options().write(true).open(&path)?.set_modified(now - Duration::from_secs(age))?;
    }
    show.until(Instant::now(), &roots[..away], |r| holds(r, "letter.txt", b"earlier"))?;
    let since = Instant::now();
    show.home.devices[away].start()?;
    let copy = |t: &Tree| {
        let mut named = t.keys().filter(|p| p.to_string_lossy().starts_with("letter (conflict "));
        (named.next().cloned(), named.next().is_none())
    };
    let took = show.until(since, &roots, |r| {
        let found = tree::read(r).ok().and_then(|t| copy(&t).0);
        holds(r, "letter.txt", b"later")
            && found.is_some_and(|c| fs::read(r.join(c)).is_ok_and(|b| b == b"earlier"))
    })?;
    let (_, tree) = show.equal(since, &roots)?;
    let (found, alone) = copy(&tree);
    let found = found.context("the conflict copy is gone")?;
    ensure!(alone, "more than one conflict copy");
    ensure!(holds(&roots[0], "letter.txt", b"later"), "the later edit does not stand");
    let (a, b) = (&show.device(0).name, &show.device(away).name);
    Ok(format!(
        "{a} and {b} changed one file while apart; after {} the later edit stands everywhere, and the other as \"{}\"",
        ms(took),
        found.display()
    ))
}

fn restore(show: &mut Show<'_>) -> Result<String> {
    let roots = show.roots();
    fs::remove_file(roots[0].join("letter.txt"))?;
    show.until(Instant::now(), &roots, |r| absent(r, "letter.txt"))?;
    let keeper = show.device(1);
    let label = "shared/letter.txt";
    let since = Instant::now();
    keeper.say(&["trash", "restore", label])?;
    let took = show.settle(since, |r| holds(r, "letter.txt", b"later"), |_| true)?;
    Ok(format!(
        "removed everywhere, then brought back from {}'s trash; everywhere after {}",
        keeper.name,
        ms(took)
    ))
}

fn offline(show: &mut Show<'_>) -> Result<String> {
    let away = show.last();
    show.home.devices[away].stop()?;
    let roots = show.roots();
    fs::write(roots[0].join("news"), "while away")?;
    fs::remove_file(roots[0].join("tree/branch 0/leaf/1.txt"))?;
    fs::rename(roots[0].join("tree/branch 2"), roots[0].join("tree/branch two"))?;
    fs::write(roots[away].join("mine"), "written offline")?;
    fs::write(roots[away].join("tree/branch 3/leaf/3.txt"), "edited offline")?;
    show.until(Instant::now(), &roots[..away], |r| holds(r, "news", b"while away"))?;
    let since = Instant::now();
    show.home.devices[away].start()?;
    let took = show.settle(
        since,
        |r| {
            holds(r, "news", b"while away")
                && holds(r, "mine", b"written offline")
                && holds(r, "tree/branch 3/leaf/3.txt", b"edited offline")
                && absent(r, "tree/branch 0/leaf/1.txt")
                && absent(r, "tree/branch 2")
        },
        |t| t.contains_key(Path::new("tree/branch two/leaf/0.txt")),
    )?;
    let name = &show.device(away).name;
    Ok(format!("{name} was away while both sides changed; equal {} after its start", ms(took)))
}
