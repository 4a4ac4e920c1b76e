//! A disk that keeps what was synced and may lose everything else: the bytes of files and the names in folders apart
//! from each other, as POSIX allows it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::record::{Step, UnderWay};
use crate::scenarios::crash::Dice;

/// What of the unsynced survives.
#[derive(Debug)]
pub(super) enum Kept {
    /// Nothing.
    Nothing,
    /// Everything, as when only the process ends.
    Everything,
    /// Any part of it, in pieces of 512 bytes.
    Some(Dice),
}

impl Kept {
    fn keeps(&mut self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Some(dice) => dice.below(2) == 0,
        }
    }
}

/// How much of a write a disk makes at a time, in bytes.
const SECTOR_BYTES: usize = 512;

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

impl Change {
    /// Makes the change to the bytes of a file, as far as it is kept.
    fn make(&self, bytes: &mut Vec<u8>, mut keeps: impl FnMut() -> bool) {
        match self {
            Self::Write(at, new) => {
                for (index, sector) in new.chunks(SECTOR_BYTES).enumerate().filter(|_| keeps()) {
                    let from = *at as usize + index * SECTOR_BYTES;
                    let to = from + sector.len();
                    bytes.resize(bytes.len().max(to), 0);
                    bytes[from..to].copy_from_slice(sector);
                }
            }
            Self::Truncate(length) if keeps() => bytes.resize(*length as usize, 0),
            Self::Truncate(_) => {}
        }
    }
}

/// The bytes of a file, whatever its name.
#[derive(Debug, Default)]
struct File {
    synced: Vec<u8>,
    /// In their order; those before it are in `synced`.
    unsynced: Vec<Change>,
    /// How many changes were synced before those.
    past: usize,
    length: u64,
}

/// The names in a folder.
#[derive(Debug, Default)]
struct Folder {
    synced: BTreeMap<String, usize>,
    /// A name and the file that it stands for now, if any.
    unsynced: Vec<(String, Option<usize>)>,
    /// How many changes were synced before those.
    past: usize,
    now: BTreeMap<String, usize>,
}

impl Folder {
    fn set(&mut self, name: &str, file: Option<usize>) {
        match file {
            Some(file) => drop(self.now.insert(name.to_owned(), file)),
            None => drop(self.now.remove(name)),
        }
        self.unsynced.push((name.to_owned(), file));
    }

    /// Makes the first changes durable, counted from the beginning of the record.
    fn sync(&mut self, changes: usize) {
        let count = changes.saturating_sub(self.past).min(self.unsynced.len());
        for (name, file) in self.unsynced.drain(..count) {
            match file {
                Some(file) => drop(self.synced.insert(name, file)),
                None => drop(self.synced.remove(&name)),
            }
        }
        self.past += count;
    }
}

/// What a sync that is under way will make durable.
#[derive(Debug)]
enum Sync {
    File { file: usize, changes: usize },
    Folder { path: PathBuf, changes: usize },
}

/// The disk under a directory.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    files: Vec<File>,
    folders: BTreeMap<PathBuf, Folder>,
    syncs: UnderWay<Sync>,
    /// Writes that have not ended: no sync that begins meanwhile need cover them.
    writes: UnderWay<(usize, usize)>,
}

/// Says whether a file's loss is none: SQLite makes it anew.
fn is_passing(name: &str) -> bool {
    name.ends_with("-shm")
}

/// Walks through the folders under one, each with its files.
fn walk(dir: &Path, see: &mut impl FnMut(&Path, Vec<(String, PathBuf)>)) {
    let mut files = Vec::new();
    for entry in dir.read_dir().expect("the directory can be read") {
        let path = entry.expect("the directory can be read").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            walk(&path, see);
        } else if !is_passing(&name) {
            files.push((name, path));
        }
    }
    see(dir, files);
}

impl Disk {
    /// Takes a directory as it is; all of it counts as synced.
    pub(super) fn of(dir: &Path) -> Self {
        let (mut files, mut folders) = (Vec::new(), BTreeMap::new());
        walk(dir, &mut |path, found| {
            let mut folder = Folder::default();
            for (name, file) in found {
                let synced = std::fs::read(file).expect("the file can be read");
                folder.synced.insert(name, files.len());
                files.push(File { length: synced.len() as u64, synced, ..File::default() });
            }
            folder.now = folder.synced.clone();
            folders.insert(path.to_owned(), folder);
        });
        Self { root: dir.to_owned(), files, folders, syncs: UnderWay::new(), writes: UnderWay::new() }
    }

    fn folder(&mut self, path: &Path) -> (&mut Folder, String) {
        let parent = path.parent().expect("a path below the root");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (self.folders.get_mut(parent).unwrap_or_else(|| panic!("the folder {} was made", parent.display())), name)
    }

    fn file(&mut self, path: &Path) -> Option<usize> {
        let (folder, name) = self.folder(path);
        folder.now.get(&name).copied()
    }

    fn change(&mut self, path: &Path, change: impl FnOnce(u64) -> Change) -> Option<(usize, usize)> {
        let index = self.file(path)?;
        let file = &mut self.files[index];
        let change = change(file.length);
        file.length = match &change {
            Change::Write(at, bytes) => file.length.max(at + bytes.len() as u64),
            Change::Truncate(length) => *length,
        };
        file.unsynced.push(change);
        Some((index, file.past + file.unsynced.len() - 1))
    }

    /// Takes the next step of the record.
    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Open { path, cut } => {
                let there = self.file(path);
                let new = self.files.len();
                let (folder, name) = self.folder(path);
                if is_passing(&name) {
                    return;
                }
                if there.is_none() {
                    folder.set(&name, Some(new));
                    self.files.push(File::default());
                } else if *cut {
                    self.change(path, |_| Change::Truncate(0));
                }
            }
            Step::Write { path, at, bytes, by } => {
                let made = self.change(path, |end| Change::Write(at.unwrap_or(end), bytes.clone()));
                if let Some((thread, made)) = by.zip(made) {
                    self.writes.insert(thread, made);
                }
            }
            Step::Truncate { path, length } => drop(self.change(path, |_| Change::Truncate(*length))),
            Step::Rename { from, to } => {
                let Some(file) = self.file(from) else { return };
                let (folder, name) = self.folder(from);
                folder.set(&name, None);
                let (folder, name) = self.folder(to);
                folder.set(&name, Some(file));
            }
            Step::Link { from, to } => {
                let Some(file) = self.file(from) else { return };
                let (folder, name) = self.folder(to);
                folder.set(&name, Some(file));
            }
            Step::Unlink { path } => {
                let (folder, name) = self.folder(path);
                if folder.now.contains_key(&name) {
                    folder.set(&name, None);
                }
            }
            Step::SyncBegins { thread, path } => {
                let sync = match self.folders.get(path) {
                    Some(folder) => {
                        Some(Sync::Folder { path: path.clone(), changes: folder.past + folder.unsynced.len() })
                    }
                    None => self.file(path).map(|file| Sync::File { file, changes: self.covered(file) }),
                };
                if let Some(sync) = sync {
                    self.syncs.insert(*thread, sync);
                }
            }
            Step::Ends { thread } => {
                self.writes.remove(thread);
                match self.syncs.remove(thread) {
                    Some(Sync::File { file, changes }) => self.files[file].sync(changes),
                    Some(Sync::Folder { path, changes }) => {
                        self.folders.get_mut(&path).expect("no folder goes").sync(changes);
                    }
                    None => {}
                }
            }
            Step::Answer => {}
        }
    }

    /// Gives how many changes of a file a sync covers that begins now.
    fn covered(&self, file: usize) -> usize {
        let all = self.files[file].past + self.files[file].unsynced.len();
        self.writes.values().filter(|(of, _)| *of == file).map(|(_, change)| *change).min().unwrap_or(all)
    }

    /// Writes what the disk would have after a loss of power into a directory.
    pub(super) fn write_to(&self, dir: &Path, kept: &mut Kept) {
        for (path, folder) in &self.folders {
            let place = dir.join(path.strip_prefix(&self.root).expect("it lies below the root"));
            std::fs::create_dir_all(&place).expect("the folder can be made");
            let mut names = folder.synced.clone();
            for (name, file) in folder.unsynced.iter().filter(|_| kept.keeps()) {
                match file {
                    Some(file) => drop(names.insert(name.clone(), *file)),
                    None => drop(names.remove(name)),
                }
            }
            for (name, file) in names {
                std::fs::write(place.join(name), self.files[file].after_the_loss(kept))
                    .expect("the file can be written");
            }
        }
    }

    /// Fails unless the disk with everything kept is what the directory is.
    pub(super) fn expect_equal(&self, dir: &Path) {
        let temp = tempfile::tempdir().expect("a temporary directory");
        self.write_to(temp.path(), &mut Kept::Everything);
        let contents = |root: &Path| {
            let mut all = BTreeMap::new();
            walk(root, &mut |_, files| {
                for (_, path) in files {
                    let bytes = std::fs::read(&path).expect("the file can be read");
                    all.insert(path.strip_prefix(root).expect("below the root").to_owned(), bytes);
                }
            });
            all
        };
        let (replayed, real) = (contents(temp.path()), contents(dir));
        let names = |all: &BTreeMap<PathBuf, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&replayed), names(&real), "the record does not tell of every file");
        for (name, bytes) in &real {
            assert!(replayed[name] == *bytes, "the record does not tell of every byte of {}", name.display());
        }
    }
}

impl File {
    /// Makes the first changes durable, counted from the beginning of the record.
    fn sync(&mut self, changes: usize) {
        let count = changes.saturating_sub(self.past).min(self.unsynced.len());
        for change in self.unsynced.drain(..count) {
            change.make(&mut self.synced, || true);
        }
        self.past += count;
    }

    fn after_the_loss(&self, kept: &mut Kept) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        for change in &self.unsynced {
            change.make(&mut bytes, || kept.keeps());
        }
        bytes
    }
}
