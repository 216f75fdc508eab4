use super::*;
use std::os::unix::fs::PermissionsExt;

struct Place {
    dir: PathBuf,
    state: State,
}

impl Place {
    fn new(name: &str) -> Place {
        let dir = std::env::temp_dir().join(format!("dartsync-image-{name}-{}", std::process::id()));
        let state = State::locate(Some(dir.join("state"))).unwrap();
        Place { dir, state }
    }
    fn given(&self, out: &str) -> Image {
        let out = self.dir.join(out);
        Image { board: Board::Rpi3, out, name: None, ip: None, words: None, update: false }
    }
    fn make(&self, given: &Image) -> String {
        make_of(&self.state, given, b"kernel").unwrap()
    }
    fn fails(&self, given: &Image) -> String {
        format!("{:#}", make_of(&self.state, given, b"kernel").unwrap_err())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn said<'a>(text: &'a str, word: &str) -> &'a str {
    text.lines().find_map(|l| l.strip_prefix(word)).unwrap_or_else(|| panic!("{word}: {text}"))
}

#[test]
fn an_image_is_for_this_device_which_keeps_its_key() {
    let place = Place::new("founder");
    let given = Image { name: Some("our home".into()), ip: Some("10.0.2.15/24".into()), ..place.given("a") };
    let text = place.make(&given);
    let key = StaticKey::from_secret(&place.state.identity().unwrap().unwrap().0);
    let card = read_card(&given.out).unwrap().unwrap();
    assert_eq!((card.founder(), card.home.as_str(), card.trial), (key.public(), "our home", Trial::None));
    assert_eq!(card.address, Fixed::parse("10.0.2.15/24"));
    let code = InviteCode::decode(said(&text, "code ")).unwrap();
    assert!(code.is_founders());
    assert_eq!((code.tracker, code.secret), (card.key().public(), [0; 16]));
    assert_eq!(code.addresses, [Addr::V4([10, 0, 2, 15], 7420)]);
    assert_eq!(words::decode(said(&text, "recovery ")).unwrap(), card.identity);
    assert_eq!(fs::read(given.out.join("kernel8.img")).unwrap(), b"kernel");
    let mode = |name: &str| fs::metadata(given.out.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(CARD), 0o600);
    // A second one: another tracker, the same founder.
    place.make(&place.given("b"));
    let other = read_card(&place.dir.join("b")).unwrap().unwrap();
    assert!(other.identity != card.identity && other.seed != card.seed);
    assert_eq!(other.founder, card.founder);
}

#[test]
fn what_is_written_holds_no_secret_but_in_the_card() {
    let place = Place::new("secrets");
    for (out, ip) in [("a", None), ("b", Some("192.168.1.5/24".to_owned()))] {
        let given = Image { ip, ..place.given(out) };
        let text = place.make(&given);
        let readme = fs::read_to_string(given.out.join("README.txt")).unwrap();
        assert!(
            readme.contains(said(&text, "code ")) && readme.contains("NOTHING OF THIS HAS RUN"),
            "{readme}"
        );
        assert_eq!(readme.contains("by `--tracker ADDRESS"), out == "a", "{readme}");
        for firmware in ["bootcode.bin", "start.elf", "fixup.dat"] {
            assert!(readme.contains(firmware), "{firmware}");
        }
        let first = said(&text, "recovery ").split(' ').next().unwrap();
        assert!(!readme.contains(first), "{readme}");
        let config = fs::read_to_string(given.out.join("config.txt")).unwrap();
        assert!(config.contains("initramfs dartsync.cfg 0x08000000"), "{config}");
    }
}

#[test]
fn an_identity_is_kept_unless_a_new_place_is_named() {
    let place = Place::new("kept");
    let given = place.given("a");
    assert!(place.fails(&Image { update: true, ..given.clone() }).contains("there is no dartsync.cfg"));
    let text = place.make(&given);
    let before = fs::read(given.out.join(CARD)).unwrap();
    assert!(place.fails(&given).contains("--update"));
    assert_eq!(fs::read(given.out.join(CARD)).unwrap(), before);
    fs::write(given.out.join("kernel8.img"), "old").unwrap();
    let again = place.make(&Image { update: true, ..given.clone() });
    assert_eq!(again, text);
    assert_eq!(fs::read(given.out.join(CARD)).unwrap(), before);
    assert_eq!(fs::read(given.out.join("kernel8.img")).unwrap(), b"kernel");
    place.make(&Image { update: true, name: Some("renamed".into()), ..given.clone() });
    let card = read_card(&given.out).unwrap().unwrap();
    assert_eq!((card.home.as_str(), card.identity), ("renamed", Card::decode(&before).unwrap().identity));
    // Another device's, or a damaged one.
    let other = Place::new("kept-other");
    assert!(other.fails(&Image { update: true, ..given.clone() }).contains("another device"));
    fs::write(given.out.join(CARD), &before[..40]).unwrap();
    assert!(place.fails(&Image { update: true, ..given }).contains("damaged"));
}

#[test]
fn words_make_another_card_of_the_same_tracker() {
    let place = Place::new("words");
    let text = place.make(&place.given("a"));
    let words = Some(said(&text, "recovery ").to_owned());
    let second = place.make(&Image { words, ..place.given("b") });
    assert_eq!(said(&second, "code "), said(&text, "code "));
    let cards = ["a", "b"].map(|out| read_card(&place.dir.join(out)).unwrap().unwrap());
    assert_eq!(cards[0].identity, cards[1].identity);
    assert!(cards[0].seed != cards[1].seed);
    let bad = Image { words: Some("babab".into()), ..place.given("c") };
    assert!(place.fails(&bad).contains("1 words, but 17"));
}

#[test]
fn what_cannot_be_is_said_and_nothing_is_written() {
    let place = Place::new("wrong");
    let given = place.given("a");
    assert!(place.fails(&Image { ip: Some("10.0.0.0/24".into()), ..given.clone() }).contains("--ip"));
    for name in [String::new(), " ".into(), "a\nb".into(), "x".repeat(65)] {
        assert!(place.fails(&Image { name: Some(name), ..given.clone() }).contains("--name"));
    }
    assert_eq!(fs::read_dir(&given.out).unwrap().count(), 0);
    fs::write(place.dir.join("file"), "").unwrap();
    assert!(place.fails(&place.given("file/x")).contains("cannot be made"));
    // A name that is taken by a directory.
    fs::create_dir(given.out.join("kernel8.img")).unwrap();
    assert!(place.fails(&given).contains("cannot be written"));
    assert!(!given.out.join(CARD).exists());
    assert!(!given.out.join("kernel8.img.new").exists());
}

#[test]
fn a_member_of_a_home_founds_no_other_and_spreads_no_identity() {
    use crate::config::{Config, TrackerConfig, hex};
    let place = Place::new("member");
    let text = place.make(&place.given("a"));
    let code = InviteCode::decode(said(&text, "code ")).unwrap();
    let root = fs::canonicalize(&place.dir).unwrap().join("root");
    let mut config = Config {
        name: "box".into(),
        listen: None,
        tracker: TrackerConfig { key: hex(&code.tracker.0), addresses: vec![] },
        folders: vec![],
        next_folder: 1,
        limits: Default::default(),
    };
    config.add_folder(crate::disk::Marker { folder: 1, nonce: 2 }, "docs", &root);
    place.state.set_config(&config).unwrap();
    assert!(place.fails(&place.given("b")).contains("belongs to a home"));
    let words = Some(said(&text, "recovery ").to_owned());
    let inside = Image { words: words.clone(), ..place.given("root/sub") };
    assert!(place.fails(&inside).contains("in folder \"docs\""));
    place.make(&Image { words, ..place.given("b") });
}
