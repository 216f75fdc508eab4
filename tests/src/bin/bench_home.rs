//! Bench of whole homes: real programs on loopback, default settings, figures from close to visible.
//!
//! `cargo run --release -p dartsync-tests --bin bench_home [latency|small|bulk|scan]…` (none: all). Everything lies on tmpfs
//! where there is one; `latency` also runs in the directory that `BENCH_DISK` names (default: the target directory's disk).

use anyhow::{Context as _, Result, ensure};
use dartsync_tests::process::{Device, Dir, Home, Tracker, noise};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

fn main() -> Result<()> {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|a| a == name);
    if wanted("latency") {
        latency("tmpfs", Home::start("bench-latency", 2))?;
        let disk = std::env::var("BENCH_DISK").unwrap_or_else(|_| "target".to_owned());
        latency("disk", on_disk(Path::new(&disk)))?;
    }
    if wanted("small") {
        small()?;
    }
    if wanted("bulk") {
        bulk()?;
    }
    if wanted("scan") {
        scan()?;
    }
    Ok(())
}

/// A home of two whose files and states lie below `at`.
fn on_disk(at: &Path) -> Home {
    let dir = Dir::within(at, "bench-disk");
    let path = std::fs::canonicalize(dir.path()).expect("it was just made");
    let mut tracker = Tracker::new(&path);
    tracker.start();
    let mut home = Home { tracker, devices: Vec::new(), dir };
    for number in 0..2 {
        let mut device = Device::new(&path, &format!("dev{number}"));
        device.join(&home.invite());
        device.start();
        home.devices.push(device);
    }
    home
}

/// 1 KiB saved on one device, 200 times: milliseconds from its close until the other holds all of it.
fn latency(name: &str, home: Home) -> Result<()> {
    let (a, b) = (&home.devices[0], &home.devices[1]);
    let mut all = Vec::new();
    for n in 0..220u64 {
        let data = noise(n, 1024);
        let file = format!("f{n}");
        a.put(&file, &data);
        let closed = Instant::now();
        while b.get(&file).as_deref() != Some(&data[..]) {
            ensure!(closed.elapsed() < Duration::from_secs(10), "edit {n} did not arrive");
            sleep(Duration::from_micros(100));
        }
        if n >= 20 {
            all.push(closed.elapsed().as_secs_f64() * 1e3);
        }
        sleep(Duration::from_millis(30));
    }
    all.sort_by(f64::total_cmp);
    println!(
        "latency, {name}: 1 KiB close to visible: median {:.1} ms, p95 {:.1} ms",
        all[all.len() / 2],
        all[all.len() * 95 / 100]
    );
    Ok(())
}

/// Seconds until a device says that it is in sync with so many files.
fn until_in_sync(device: &Device, files: u64) -> Result<f64> {
    let began = Instant::now();
    loop {
        let status = device.status();
        let folder = &status["folders"][0];
        if folder["state"] == "in sync" && folder["files"].as_u64() >= Some(files) {
            return Ok(began.elapsed().as_secs_f64());
        }
        ensure!(began.elapsed() < Duration::from_secs(300), "not in sync: {folder}");
        sleep(Duration::from_millis(20));
    }
}

/// 10,000 files of 4 KiB moved into the folder at once.
fn small() -> Result<()> {
    let home = Home::start("bench-small", 2);
    let (a, b) = (&home.devices[0], &home.devices[1]);
    a.put("keep", "x");
    home.converge();
    let stage = home.dir.path().join("stage");
    fill(&stage, 10_000, 4096)?;
    let began = Instant::now();
    std::fs::rename(&stage, a.path("many")).context("staging lies on the same disk")?;
    until_in_sync(b, 10_001)?;
    println!("small: 10,000 x 4 KiB, until the other is in sync: {:.2} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn fill(dir: &Path, count: u64, size: usize) -> Result<()> {
    for n in 0..count {
        let sub = dir.join(format!("d{}", n / 1000));
        if n % 1000 == 0 {
            std::fs::create_dir_all(&sub)?;
        }
        std::fs::write(sub.join(format!("f{n}")), noise(n, size))?;
    }
    Ok(())
}

/// One file of 1 GiB, three times: from its rename into the folder until it is visible elsewhere, hashing included.
fn bulk() -> Result<()> {
    const SIZE: usize = 1 << 30;
    let home = Home::start("bench-bulk", 2);
    let (a, b) = (&home.devices[0], &home.devices[1]);
    a.put("keep", "x");
    home.converge();
    let mut all = Vec::new();
    for n in 0..3u64 {
        let stage = home.dir.path().join("stage");
        std::fs::write(&stage, noise(n + 77, SIZE))?;
        let began = Instant::now();
        std::fs::rename(&stage, a.path("big"))?;
        while std::fs::metadata(b.path("big")).map_or(0, |m| m.len()) != SIZE as u64 {
            ensure!(began.elapsed() < Duration::from_secs(120), "1 GiB did not arrive");
            sleep(Duration::from_millis(2));
        }
        all.push(began.elapsed().as_secs_f64());
        home.converge();
        a.remove("big");
        home.converge();
        for d in [a, b] {
            d.say(&["trash", "empty"]);
        }
    }
    all.sort_by(f64::total_cmp);
    println!("bulk: 1 GiB, median of 3: {:.2} s ({:.0} MB/s)", all[1], SIZE as f64 / 1e6 / all[1]);
    Ok(())
}

/// 100,000 files of 1 KiB: first scan, to a second device, restart, memory.
fn scan() -> Result<()> {
    const FILES: u64 = 100_000;
    let mut home = Home::start("bench-scan", 1);
    home.devices[0].stop();
    let root = home.devices[0].path("all");
    fill(&root, FILES, 1024)?;
    let began = Instant::now();
    home.devices[0].start();
    let ready = began.elapsed().as_secs_f64();
    until_in_sync(&home.devices[0], FILES)?;
    let announced = began.elapsed().as_secs_f64();
    println!(
        "scan: 100,000 x 1 KiB: ready after {ready:.2} s, all hashed and announced after {announced:.2} s"
    );
    let began = Instant::now();
    home.add();
    until_in_sync(&home.devices[1], FILES)?;
    println!("scan: to a second device: {:.2} s", began.elapsed().as_secs_f64());
    let mib = |kib: u64| kib as f64 / 1024.0;
    for (n, d) in home.devices.iter_mut().enumerate() {
        let (now, peak) = (d.running().resident(), d.running().resident_peak());
        println!("scan: device {n}: resident {:.0} MiB, at most {:.0} MiB", mib(now), mib(peak));
    }
    let tracker = home.tracker.running().resident();
    println!("scan: tracker: resident {:.0} MiB", mib(tracker));
    home.devices[0].stop();
    let began = Instant::now();
    home.devices[0].start();
    until_in_sync(&home.devices[0], FILES)?;
    println!("scan: restart until in sync: {:.2} s", began.elapsed().as_secs_f64());
    sleep(Duration::from_secs(5));
    println!("scan: resident when idle: {:.0} MiB", mib(home.devices[0].running().resident()));
    Ok(())
}
