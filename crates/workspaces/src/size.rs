//! How much a folder holds: one walk that stops at the first bound. It follows no link, opens each
//! folder by its name in the one above it, and looks into no file.

use std::path::Path;

use protocol::name::OrgId;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, CWD, Dir, DirEntry, FileType, Mode, OFlags, openat, statat},
    io::Errno,
    path::Arg,
};

use crate::folder;

/// Deepest that folders may lie in each other below an organisation's own; a walk holds that many
/// open.
pub const DEPTH_MAX: usize = 64;

/// What an organisation has too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Counted so far; the walk ended there.
    #[error("the workspaces of the organisation hold at least {counted} bytes; {most} are allowed")]
    Bytes {
        /// How many there are at least.
        counted: u64,
        /// How many may be there.
        most: u64,
    },
    /// There may be any number of bytes behind them.
    #[error("the workspaces of the organisation hold more than {most} files and folders")]
    Entries {
        /// How many are counted.
        most: usize,
    },
    /// Deeper folders are not measured.
    #[error("the workspaces of the organisation have folders more than {DEPTH_MAX} deep")]
    Depth,
}

/// What a walk found.
#[derive(Debug)]
pub(crate) struct WalkResult {
    pub(crate) verdict: Result<(), Excess>,
    /// What could not be read counts nothing; this was the first such fault.
    pub(crate) unreadable: Option<Errno>,
}

impl WalkResult {
    pub(crate) fn nothing() -> Self {
        Self { verdict: Ok(()), unreadable: None }
    }
}

/// The folder of an organisation; none where there is none. The root may be behind a link, an
/// organisation's folder may not.
pub(crate) fn open(root: &Path, org_id: &OrgId) -> Result<Option<OwnedFd>, Errno> {
    let there = |opened: Result<OwnedFd, Errno>| match opened {
        Err(Errno::NOENT) => Ok(None),
        opened => opened.map(Some),
    };
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Some(root) = there(openat(CWD, root, flags, Mode::empty()))? else { return Ok(None) };
    there(open_in(&root, folder::of_org(org_id)))
}

/// Adds up the lengths of all regular files.
pub(crate) fn measure(folder: OwnedFd, bytes_max: u64, entries_max: usize) -> WalkResult {
    let mut walk = SizeWalk { bytes: 0, entries: 0, bytes_max, entries_max, unreadable: None };
    let verdict = walk.through(folder);
    WalkResult { verdict, unreadable: walk.unreadable }
}

struct SizeWalk {
    bytes: u64,
    entries: usize,
    bytes_max: u64,
    entries_max: usize,
    unreadable: Option<Errno>,
}

impl SizeWalk {
    fn through(&mut self, folder: OwnedFd) -> Result<(), Excess> {
        // From the organisation's folder down to the one that is being read.
        let mut open: Vec<Dir> = self.readable(Dir::new(folder)).into_iter().collect();
        while let Some(folder) = open.last_mut() {
            let Some(entry) = folder.read().and_then(|entry| self.readable(entry)) else {
                open.pop();
                continue;
            };
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            if let Some(inner) = self.add(folder, &entry)? {
                if open.len() > DEPTH_MAX {
                    return Err(Excess::Depth);
                }
                open.push(inner);
            }
        }
        Ok(())
    }

    /// Counts an entry; returns it opened if it is a folder.
    fn add(&mut self, parent: &Dir, entry: &DirEntry) -> Result<Option<Dir>, Excess> {
        self.entries += 1;
        if self.entries > self.entries_max {
            return Err(Excess::Entries { most: self.entries_max });
        }
        match self.readable(look(parent, entry)) {
            Some(FolderEntry::File { bytes }) => self.bytes = self.bytes.saturating_add(bytes),
            Some(FolderEntry::Folder(inner)) => return Ok(Some(inner)),
            Some(FolderEntry::Other) | None => {}
        }
        if self.bytes > self.bytes_max {
            return Err(Excess::Bytes { counted: self.bytes, most: self.bytes_max });
        }
        Ok(None)
    }

    fn readable<T>(&mut self, read: Result<T, Errno>) -> Option<T> {
        match read {
            Ok(read) => return Some(read),
            // It went, or became something else, while we looked.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(fault) => self.unreadable = self.unreadable.or(Some(fault)),
        }
        None
    }
}

enum FolderEntry {
    File { bytes: u64 },
    Folder(Dir),
    Other,
}

fn look(parent: &Dir, entry: &DirEntry) -> Result<FolderEntry, Errno> {
    let (parent, name) = (parent.fd()?, entry.file_name());
    let facts = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(facts.st_mode) {
        FileType::RegularFile => {
            Ok(FolderEntry::File { bytes: u64::try_from(facts.st_size).unwrap_or_default() })
        }
        FileType::Directory => Dir::new(open_in(parent, name)?).map(FolderEntry::Folder),
        _ => Ok(FolderEntry::Other),
    }
}

fn open_in(parent: impl AsFd, name: impl Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{File, create_dir_all, write},
        os::unix::fs::symlink,
    };

    use tempfile::TempDir;

    use super::*;

    /// A root, and the folder of a user of `org_a` in it.
    fn root() -> (TempDir, std::path::PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let user = root.path().join("org-org_a/user-u");
        create_dir_all(&user).unwrap();
        (root, user)
    }

    fn found(root: &Path, bytes_max: u64, entries_max: usize) -> WalkResult {
        let folder = open(root, &"org_a".parse().unwrap()).unwrap().expect("a folder");
        measure(folder, bytes_max, entries_max)
    }

    #[track_caller]
    fn check(root: &Path, bytes_max: u64, entries_max: usize, expected: Result<(), Excess>) {
        let found = found(root, bytes_max, entries_max);
        assert_eq!((found.verdict, found.unreadable), (expected, None));
    }

    #[test]
    fn files_of_all_users_and_projects_count_to_the_byte() {
        let (root, user) = root();
        let other = root.path().join("org-org_a/user-v/project-p/deep/er");
        create_dir_all(&other).unwrap();
        create_dir_all(root.path().join("org-org_b")).unwrap();
        check(root.path(), 0, 9, Ok(()));
        write(user.join("a"), [0; 70]).unwrap();
        write(other.join(".b"), [0; 30]).unwrap();
        write(root.path().join("org-org_b/c"), [0; 500]).unwrap();
        check(root.path(), 100, 9, Ok(()));
        check(root.path(), 99, 9, Err(Excess::Bytes { counted: 100, most: 99 }));
    }

    #[test]
    fn a_huge_file_counts_by_its_length_and_ends_the_walk() {
        let (root, user) = root();
        File::create(user.join("a")).unwrap().set_len(1 << 40).unwrap();
        let excess = Excess::Bytes { counted: 1 << 40, most: 1 << 30 };
        check(root.path(), 1 << 30, 9, Err(excess));
    }

    #[test]
    fn links_count_nothing_wherever_they_lead() {
        let (root, user) = root();
        let outside = tempfile::tempdir().unwrap();
        write(outside.path().join("huge"), [0; 4096]).unwrap();
        symlink(outside.path(), user.join("folder")).unwrap();
        symlink(outside.path().join("huge"), user.join("file")).unwrap();
        symlink("..", user.join("up")).unwrap();
        symlink("nowhere", user.join("dangling")).unwrap();
        check(root.path(), 0, 9, Ok(()));
        // Even if the organisation's own folder is one; that it is not measured is a fault.
        symlink(outside.path(), root.path().join("org-linked")).unwrap();
        let linked = open(root.path(), &"linked".parse().unwrap());
        assert!(matches!(linked, Err(Errno::NOTDIR | Errno::LOOP)), "{linked:?}");
    }

    #[test]
    fn files_and_folders_are_bounded_in_number_and_depth() {
        let (root, user) = root();
        for name in 0..9 {
            write(user.join(name.to_string()), "").unwrap();
        }
        check(root.path(), 0, 10, Ok(()));
        check(root.path(), 0, 9, Err(Excess::Entries { most: 9 }));
        let deepest = (2..=DEPTH_MAX).fold(user, |folder, _| folder.join("d"));
        create_dir_all(&deepest).unwrap();
        check(root.path(), 0, 1000, Ok(()));
        create_dir_all(deepest.join("d")).unwrap();
        check(root.path(), 0, 1000, Err(Excess::Depth));
    }

    #[test]
    fn an_organisation_without_a_folder_has_nothing() {
        let (root, _) = root();
        assert!(open(root.path(), &"org_b".parse().unwrap()).unwrap().is_none());
        assert!(open(&root.path().join("gone"), &"org_a".parse().unwrap()).unwrap().is_none());
    }
}
