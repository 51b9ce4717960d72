//! Paths and files that try to escape from the folder, or to make the reader hang: a corpus, and a race.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{FILE_MAX_BYTES, read_text};

const SECRET: &str = "OUTSIDE";
/// Reads of one race.
const RACE_READS: usize = 100_000;

/// A folder of a tenant, and beside it what is none of its business.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("w/sub/deeper")).unwrap();
        fs::create_dir_all(root.path().join("outside/sub")).unwrap();
        fs::write(root.path().join("secret"), SECRET).unwrap();
        fs::write(root.path().join("outside/file"), SECRET).unwrap();
        fs::write(root.path().join("w/file"), "inside").unwrap();
        fs::write(root.path().join("w/sub/file"), "inside").unwrap();
        Self { root }
    }

    fn folder(&self) -> std::path::PathBuf {
        self.root.path().join("w")
    }

    fn outside(&self, name: &str) -> String {
        self.root.path().join(name).to_str().unwrap().to_owned()
    }

    /// It is refused, and says nothing of what is outside, not even where the folder is.
    #[track_caller]
    fn refuses(&self, path: &str) {
        match read_text(&self.folder(), path) {
            Ok(text) => panic!("`{path}` was read: {text}"),
            Err(error) => {
                assert!(!error.contains(SECRET), "`{path}`: {error}");
                let said_more = error.replace(path, "");
                assert!(!said_more.contains(self.root.path().to_str().unwrap()), "{error}");
            }
        }
    }
}

#[test]
fn no_spelling_leads_out() {
    let place = Place::new();
    let mut paths: Vec<String> = Vec::new();
    // Upwards, by every detour.
    for up in
        ["..", "./..", "sub/../..", "sub/deeper/../../..", "../w/..", "..//", "sub//../..", ".././"]
    {
        for rest in ["secret", "outside/file", "outside/sub/../file", "./secret", "w/../secret"] {
            paths.push(format!("{up}/{rest}"));
        }
    }
    // What some decoder, shell or other system would understand.
    for spelling in [
        "%2e%2e/secret",
        "%2e%2e%2fsecret",
        "..%2fsecret",
        "..%c0%afsecret",
        "%252e%252e%252fsecret",
        "..\\secret",
        "..\\..\\secret",
        "\\\\host\\share",
        "C:\\secret",
        "c:/secret",
        "file:../secret",
        "file:///etc/passwd",
        "http://127.0.0.1/",
        "~/secret",
        "~root/.ssh/id_rsa",
        "$HOME/secret",
        "${PWD}/../secret",
        "`cat ../secret`",
        "$(cat ../secret)",
        "; cat ../secret",
        "| cat ../secret",
        "..;/secret",
        ".. /secret",
        " ../secret",
        "../secret ",
        "../secret\n",
        "\t../secret",
        "．．/secret",
        "․․/secret",
        "..／secret",
        "..∕secret",
        "..⁄secret",
        "\u{202e}terces/..",
        "..\u{200b}/secret",
        "\u{feff}../secret",
        "…/secret",
        "..../secret",
        ".../secret",
        "FILE",
        "File",
        "file.",
        "file ",
        "file\u{301}",
        "ｆile",
        "file::$DATA",
        "file/",
        "file/.",
        "file/..",
        "file/../file",
        "*",
        "f*",
        "fil?",
        "[f]ile",
        "{file,secret}",
        "-",
        "--",
        "-rf",
    ] {
        paths.push(spelling.into());
    }
    // Absolute ones, and what the kernel offers.
    for absolute in [
        "/",
        "//",
        "///",
        "/etc/passwd",
        "//etc/passwd",
        "/etc/../etc/passwd",
        "/proc/self/environ",
        "/proc/self/cwd/Cargo.toml",
        "/proc/self/root/etc/passwd",
        "/proc/self/fd/0",
        "/proc/1/environ",
        "/proc/self/maps",
        "/dev/stdin",
        "/dev/fd/0",
        "/dev/null",
        "/dev/zero",
        "/dev/tty",
        "/sys/kernel",
        "/root/.ssh/id_rsa",
        "/var/lib/openintern",
        "proc/self/environ",
        "etc/passwd",
    ] {
        paths.push(absolute.into());
    }
    paths.push(place.outside("secret"));
    paths.push(place.outside("w/../secret"));
    paths.push(place.outside("w/file"));
    // No paths at all.
    for odd in [
        "",
        ".",
        "./",
        "./.",
        "..",
        "../",
        "sub",
        "sub/",
        "sub/.",
        "sub/..",
        "\0",
        "file\0",
        "file\0/../../secret",
    ] {
        paths.push(odd.into());
    }
    paths.push("x".repeat(5_000));
    paths.push("x/".repeat(2_500));
    paths.push("../".repeat(1_000) + "secret");
    paths.push("sub/../".repeat(500) + "../secret");
    paths.push("字".repeat(100));
    assert!(paths.len() >= 100, "{}", paths.len());
    paths.iter().for_each(|path| place.refuses(path));

    for inside in
        ["file", "./file", "sub/file", "sub/../file", ".//sub/./file", "sub/deeper/../file"]
    {
        assert_eq!(read_text(&place.folder(), inside).unwrap(), "inside", "{inside}");
    }
}

#[test]
fn links_lead_nowhere_but_inside() {
    let place = Place::new();
    let link = |target: &str, name: &str| symlink(target, place.folder().join(name)).unwrap();
    link("../secret", "out");
    link("../outside", "out_folder");
    link(&place.outside("secret"), "absolute");
    link(&place.outside("w/file"), "absolute_inside");
    link("/proc/self", "process");
    link("/", "everything");
    link("..", "up");
    link("absent", "dangling");
    link("loop", "loop");
    link("loop_b", "loop_a");
    link("loop_a", "loop_b");
    link("sub/../../secret", "detour");
    link("out", "twice");
    link("up/secret", "through");
    fs::hard_link(place.outside("secret"), place.folder().join("hard")).unwrap();
    for path in [
        "out",
        "out_folder/file",
        "out_folder/sub/../file",
        "absolute",
        "absolute_inside",
        "process/environ",
        "process/cwd/Cargo.toml",
        "process/fd/0",
        "everything/etc/passwd",
        "up/secret",
        "up/w/file",
        "up/outside/file",
        "dangling",
        "loop",
        "loop/file",
        "loop_a",
        "detour",
        "twice",
        "through",
        "hard",
        "sub/../out",
        "sub/../up/secret",
    ] {
        place.refuses(path);
    }
    link("file", "within");
    link("../file", "sub/within");
    link("sub", "folder");
    for path in ["within", "sub/within", "folder/file", "folder/../file", "folder/within"] {
        assert_eq!(read_text(&place.folder(), path).unwrap(), "inside", "{path}");
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let place = Place::new();
    let at = |name: &str| place.folder().join(name);
    let made = |program: &str, args: &[&str], path: &Path| {
        Command::new(program).args(args).arg(path).output().is_ok_and(|done| done.status.success())
    };
    assert!(made("mkfifo", &[], &at("fifo")));
    let _socket = UnixListener::bind(at("socket")).unwrap();
    symlink("/dev/zero", at("zero")).unwrap();
    for path in ["fifo", "socket", "zero", "sub", "fifo/x", "socket/x", "file/x"] {
        place.refuses(path);
    }
    // Only root can make a device; where we are not, there is none to refuse.
    let device = at("device");
    let node = Command::new("mknod").arg(&device).args(["c", "1", "5"]).output().unwrap();
    assert_eq!(node.status.success(), device.exists());
    place.refuses("device");
}

#[test]
fn no_file_is_read_beyond_its_bound() {
    let place = Place::new();
    let max = usize::try_from(FILE_MAX_BYTES).unwrap();
    let at = |name: &str| place.folder().join(name);
    fs::write(at("full"), "x".repeat(max)).unwrap();
    assert_eq!(read_text(&place.folder(), "full").unwrap().len(), max);
    fs::write(at("larger"), "x".repeat(max + 1)).unwrap();
    fs::File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();
    fs::File::create(at("holes")).unwrap().set_len(FILE_MAX_BYTES).unwrap();
    for path in ["larger", "sparse", "holes"] {
        place.refuses(path);
    }
    // One that grows while it is read is read up to the bound, or refused.
    fs::write(at("growing"), "x".repeat(max - 1000)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::io::Write;
            let mut file = fs::File::options().append(true).open(at("growing")).unwrap();
            while !done.load(Ordering::Relaxed)
                && file.metadata().unwrap().len() < 4 * FILE_MAX_BYTES
            {
                file.write_all(b"more").unwrap();
            }
        });
        let _ends = Ends(&done);
        for _ in 0..200 {
            if let Ok(text) = read_text(&place.folder(), "growing") {
                assert!(text.len() <= max);
            }
        }
    });
}

/// Ends the swapping, also when an assertion fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads `path` again and again while `door` and `trap` change places as fast as they can.
fn race(place: &Place, door: &str, trap: &str, paths: &[&str]) {
    let (door, trap) = (place.folder().join(door), place.folder().join(trap));
    let done = AtomicBool::new(false);
    let (mut read, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &door, CWD, &trap, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let _ends = Ends(&done);
        for path in paths.iter().cycle().take(RACE_READS) {
            match read_text(&place.folder(), path) {
                Ok(text) => {
                    assert_eq!(text, "inside", "`{path}` led out");
                    read += 1;
                }
                Err(error) => {
                    assert!(!error.contains(SECRET), "{error}");
                    refused += 1;
                }
            }
        }
    });
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused: there was no race");
}

#[test]
fn a_file_swapped_for_a_link_is_never_followed_out() {
    let place = Place::new();
    symlink("../secret", place.folder().join("trap")).unwrap();
    race(&place, "file", "trap", &["file", "sub/../file"]);
}

#[test]
fn a_folder_swapped_for_a_link_is_never_followed_out() {
    let place = Place::new();
    fs::write(place.root.path().join("outside/sub/file"), SECRET).unwrap();
    fs::write(place.folder().join("sub/deeper/file"), "inside").unwrap();
    symlink("../outside", place.folder().join("trap")).unwrap();
    fs::create_dir(place.root.path().join("outside/deeper")).unwrap();
    fs::write(place.root.path().join("outside/deeper/file"), SECRET).unwrap();
    race(&place, "sub", "trap", &["sub/file", "sub/deeper/../file", "sub/deeper/file"]);
}
