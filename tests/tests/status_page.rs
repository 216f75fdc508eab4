//! The tracker's status page, of the program of Linux and of boards under QEMU.

use dartsync_tests::process::{
    BOARDS, Device, Dir, Home, Machine, Tracker, free_port, has_qemu, status_page, wait_for,
};
use std::net::TcpStream;

/// What the page of a home with two running devices says, before and after one goes.
fn tells_what_is(home: &mut Home, at: &str) {
    home[0].put("some-file-name", "some content");
    home.converge();
    let row = |name: &str, is: &str| format!("<tr><td>{name}<td>{is}<td>0");
    wait_for("both are online and have all", || {
        let page = status_page(at);
        (page.contains(&row("dev0", "online")) && page.contains(&row("dev1", "online"))).then_some(())
    });
    // Whoever asks nothing, or too slowly, is in nobody's way.
    let idle: Vec<TcpStream> = (0..20).filter_map(|_| TcpStream::connect(at).ok()).collect();
    home[1].put("meanwhile", "on a busy page");
    home.converge();
    let page = status_page(at);
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    for part in
        ["<h1>our home ", env!("CARGO_PKG_VERSION"), "<tr><td>dev0<td>2<td>2", "2 records", "KiB free"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    for secret in ["some-file-name", "meanwhile", "some content", "dart1"] {
        assert!(!page.contains(secret), "{secret}: {page}");
    }
    drop(idle);
    home[1].kill();
    home[0].put("more", "that dev1 lacks");
    wait_for("one is offline and lacks something", || {
        status_page(at).contains("<tr><td>dev1<td>offline<td>1").then_some(())
    });
}

#[test]
fn a_tracker_on_linux_shows_its_page_where_it_is_told_to() {
    let at = format!("127.0.0.1:{}", free_port());
    let mut home = Home::found_with("page", &["--status", &at, "--name", "our home"]);
    assert_eq!(home.tracker.running().says("status "), format!("http://{at}/"));
    home.add();
    home.add();
    tells_what_is(&mut home, &at);
}

#[test]
fn a_board_shows_its_page() {
    for kind in BOARDS.iter().filter(|_| has_qemu()) {
        let dir = Dir::new(&format!("page-{}", kind.name));
        let mut devices: Vec<Device> = (0..2).map(|n| Device::new(dir.path(), &format!("dev{n}"))).collect();
        let mut machine = Machine::new(kind, dir.path(), &devices[0], &["--name", "our home"]);
        machine.boot();
        for n in 0..2 {
            let code = if n == 0 { machine.code.clone() } else { devices[0].invite() };
            machine.joined_by(&devices[n], &code).unwrap();
            devices[n].start();
        }
        let mut home = Home { tracker: Tracker::new(dir.path()), devices, dir };
        tells_what_is(&mut home, &machine.page);
        let page = status_page(&machine.page);
        assert!(page.contains(" KiB of them image; stack "), "{page}");
        assert_eq!(page.contains("Never run on a real board"), kind.name != "virt", "{page}");
    }
}
