//! `read_file`: text files of the scope's own folder, and nothing outside it.
//!
//! The path is resolved by the kernel beneath the folder (`cap-std`, `openat2`), so neither `..` nor
//! a link that is swapped in between leads out. Host paths never appear in an answer.

use std::{
    io::{self, Read},
    path::Path,
};

use cap_std::{
    ambient_authority,
    fs::{Dir, MetadataExt, OpenOptions, OpenOptionsExt},
};
use futures::FutureExt;
use protocol::{scope::Scope, tool::Effect};
use serde::Deserialize;
use serde_json::{Value, json};
use workspaces::folder;

use super::builtin::{Builtin, ToolError, info, parse};

/// Largest file that is read, in bytes.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// Lines of an answer that names no `limit`.
const LINES_DEFAULT: usize = 500;
/// Most lines of an answer.
const LINES_MAX: usize = 5_000;
/// `O_NONBLOCK | O_NOCTTY` of Linux: opening a FIFO or a terminal must neither wait nor take it.
const OPEN_FLAGS: i32 = 0o4000 | 0o400;

pub(super) fn read() -> Builtin {
    Builtin {
        info: info(
            "read_file",
            "Reads a text file of the workspace. Paths are relative to the workspace. Returns lines \
            from `offset` (1 is the first), and how many the file has.",
            Effect::ReadOnly,
            json!({
                "path": {"type": "string", "minLength": 1, "maxLength": 4096},
                "offset": {"type": "integer", "minimum": 1, "default": 1},
                "limit": {"type": "integer", "minimum": 1, "maximum": LINES_MAX,
                          "default": LINES_DEFAULT}
            }),
            &["path"],
        ),
        call: |parts, caller, args| read_file(&parts.workspace_root, caller.scope, args).boxed(),
    }
}

#[derive(Deserialize)]
struct ReadFileArgs {
    path: String,
    offset: Option<usize>,
    limit: Option<usize>,
}

async fn read_file(root: &Path, scope: &Scope, args: &Value) -> Result<Value, ToolError> {
    let args: ReadFileArgs = parse(args)?;
    let folder = folder::of_scope(root, scope);
    let path = args.path.clone();
    // Disks can be slow, so this does not run on a thread of the async runtime.
    let text = tokio::task::spawn_blocking(move || read_text(&folder, &path))
        .await
        .map_err(|_| ToolError::Told("the file could not be read".into()))?
        .map_err(ToolError::Told)?;
    let lines: Vec<_> = text.lines().collect();
    let first = args.offset.unwrap_or(1);
    let shown: Vec<_> = lines
        .iter()
        .skip(first.saturating_sub(1))
        .take(args.limit.unwrap_or(LINES_DEFAULT))
        .copied()
        .collect();
    Ok(json!({
        "path": args.path,
        "first_line": first,
        "lines": shown.len(),
        "total_lines": lines.len(),
        "text": shown.join("\n"),
    }))
}

fn read_text(folder: &Path, path: &str) -> Result<String, String> {
    if path.contains('\0') {
        return Err("a path must not contain a NUL byte".into());
    }
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no file `{path}` in the workspace"),
        io::ErrorKind::PermissionDenied => {
            format!("`{path}` is outside of the workspace or may not be read")
        }
        io::ErrorKind::IsADirectory => format!("`{path}` is a folder"),
        io::ErrorKind::InvalidFilename => format!("the path `{path}` is too long"),
        _ => format!("`{path}` cannot be read"),
    };
    let folder = Dir::open_ambient_dir(folder, ambient_authority()).map_err(unreadable)?;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OPEN_FLAGS);
    let file = folder.open_with(path, &options).map_err(unreadable)?;
    let facts = file.metadata().map_err(unreadable)?;
    if facts.is_dir() {
        return Err(format!("`{path}` is a folder"));
    }
    if !facts.is_file() {
        return Err(format!("`{path}` is not a regular file"));
    }
    if facts.nlink() != 1 {
        return Err(format!("`{path}` has hard links and may belong to another place"));
    }
    if facts.len() > FILE_MAX_BYTES {
        return Err(format!(
            "`{path}` has {} bytes; at most {FILE_MAX_BYTES} can be read",
            facts.len()
        ));
    }
    let mut bytes = Vec::new();
    // The file may have grown since its size was read.
    file.into_std().take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(format!("`{path}` is growing; at most {FILE_MAX_BYTES} bytes can be read"));
    }
    if let Some(kind) = binary_kind(&bytes) {
        return Err(format!("`{path}` is {kind} of {} bytes, not text", bytes.len()));
    }
    let count = bytes.len();
    String::from_utf8(bytes).map_err(|_| format!("`{path}` is not UTF-8 text ({count} bytes)"))
}

/// What a file that is not text is, by its first bytes.
fn binary_kind(bytes: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 13] = [
        (b"\x89PNG\r\n", "a PNG image"),
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"GIF8", "a GIF image"),
        (b"%PDF-", "a PDF document"),
        (b"PK\x03\x04", "a ZIP archive or an office document"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\xfd7zXZ", "an xz archive"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive"),
        (b"\x7fELF", "a program"),
        (b"SQLite format 3", "an SQLite database"),
        (b"\xff\xfe", "UTF-16 text"),
        (b"\xfe\xff", "UTF-16 text"),
        (b"RIFF", "a RIFF file (sound, video or WebP)"),
    ];
    let known = KINDS.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, kind)| *kind);
    known.or_else(|| bytes.contains(&0).then_some("a binary file"))
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn scope(org: &str, project: Option<&str>) -> Scope {
        Scope {
            org_id: org.parse().unwrap(),
            user_id: "u".parse().unwrap(),
            project_id: project.map(|name| name.parse().unwrap()),
        }
    }

    #[tokio::test]
    async fn lines_are_counted_from_one() {
        let root = tempfile::tempdir().unwrap();
        let scope = scope("a", None);
        let folder = folder::of_scope(root.path(), &scope);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("笔记.md"), "一\n二\n三\n").unwrap();
        let answer =
            read_file(root.path(), &scope, &json!({"path": "笔记.md", "offset": 2, "limit": 1}))
                .await
                .unwrap();
        assert_eq!(
            answer,
            json!({"path": "笔记.md", "first_line": 2, "lines": 1, "total_lines": 3, "text": "二"})
        );
    }

    #[tokio::test]
    async fn a_piece_may_begin_or_end_behind_the_last_line() {
        let root = tempfile::tempdir().unwrap();
        let scope = scope("a", None);
        let folder = folder::of_scope(root.path(), &scope);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("f"), "1\n2\r\n\n4").unwrap();
        for (offset, limit, lines, text) in [
            (1, 5000, 4, "1\n2\n\n4"),
            (4, 1, 1, "4"),
            (4, 9, 1, "4"),
            (5, 1, 0, ""),
            (99, 1, 0, ""),
        ] {
            let args = json!({"path": "f", "offset": offset, "limit": limit});
            let answer = read_file(root.path(), &scope, &args).await.unwrap();
            assert_eq!(
                (&answer["lines"], &answer["total_lines"], &answer["text"]),
                (&json!(lines), &json!(4), &json!(text)),
                "{args}"
            );
        }
    }

    #[test]
    fn what_is_no_text_is_named_with_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8], expected: &str| {
            std::fs::write(folder.path().join("f"), bytes).unwrap();
            assert_eq!(read_text(folder.path(), "f").unwrap_err(), expected);
        };
        check(b"\x89PNG\r\n\x1a\n\0\0", "`f` is a PNG image of 10 bytes, not text");
        check(b"%PDF-1.7\n", "`f` is a PDF document of 9 bytes, not text");
        check(b"a\0b", "`f` is a binary file of 3 bytes, not text");
        check(b"caf\xe9", "`f` is not UTF-8 text (4 bytes)");
        check(b"\xed\xa0\x80", "`f` is not UTF-8 text (3 bytes)");
        check(b"\xc0\xae", "`f` is not UTF-8 text (2 bytes)");
    }

    #[test]
    fn nothing_outside_the_folder_and_nothing_but_text() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("w");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(root.path().join("secret"), "SECRET").unwrap();
        symlink("../secret", folder.join("out")).unwrap();
        symlink(root.path().join("secret"), folder.join("absolute")).unwrap();
        symlink("loop", folder.join("loop")).unwrap();
        std::fs::hard_link(root.path().join("secret"), folder.join("hard")).unwrap();
        std::fs::write(folder.join("binary"), b"a\0b").unwrap();
        std::fs::write(folder.join("latin1"), b"caf\xe9").unwrap();
        std::fs::create_dir(folder.join("folder")).unwrap();
        std::fs::File::create(folder.join("huge")).unwrap().set_len(FILE_MAX_BYTES + 1).unwrap();
        std::fs::write(folder.join("fine"), "fine").unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(folder.join("fifo"))
                .status()
                .unwrap()
                .success()
        );
        for path in [
            "../secret",
            "out",
            "absolute",
            "loop",
            "hard",
            "binary",
            "latin1",
            "folder",
            "huge",
            "fifo",
            "/etc/passwd",
            "folder/../../secret",
            ".",
            "",
            "a\0b",
            "absent",
            "/proc/self/environ",
            &"x/".repeat(3000),
        ] {
            let error = read_text(&folder, path).unwrap_err();
            assert!(!error.contains("SECRET"), "{path}: {error}");
            assert!(!error.contains(root.path().to_str().unwrap()), "{path}: {error}");
        }
        assert_eq!(read_text(&folder, "folder/../fine").unwrap(), "fine");
    }
}
