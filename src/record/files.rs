//! The files of a recording: the current one, and older ones behind it, numbered, the oldest dropped.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::frame::MAGIC;

/// Files of one recording, the current one included.
pub const SEGMENTS: usize = 8;

/// Why nothing can be recorded into a file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path} is a folder; name a file in it", path = path.display())]
    Folder { path: PathBuf },
    #[error("{path} exists and is not a recording; it is left alone: name another file", path = path.display())]
    Foreign { path: PathBuf },
    #[error("another process records into {path}; name another file", path = path.display())]
    Taken { path: PathBuf },
    #[error("cannot write {path}: {cause}", path = path.display())]
    Io { path: PathBuf, cause: io::Error },
}

/// Open files and how much is in them.
pub(super) struct Files {
    path: PathBuf,
    /// Of all files together.
    most: u64,
    file: File,
    /// Bytes of whole records in the current file.
    current: u64,
    /// Of `FILE.1`, `FILE.2` ... as far as they are there.
    older: Vec<u64>,
}

impl Files {
    /// Begins a new file; one that is there already becomes `FILE.1`.
    pub(super) fn open(path: &Path, most: u64) -> Result<Self, OpenError> {
        let path = path.to_owned();
        if path.is_dir() {
            return Err(OpenError::Folder { path });
        }
        let failed = |cause| OpenError::Io { path: path.clone(), cause };
        let open = || -> io::Result<_> {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Err(OpenError::Taken { path: path.clone() })),
                // A file system without locks: nobody is told of the other.
                Err(TryLockError::Error(_)) => {}
            }
            let mut start = Vec::new();
            (&mut file).take(MAGIC.len() as u64).read_to_end(&mut start)?;
            if start != MAGIC.get(..start.len()).unwrap_or_default() {
                return Ok(Err(OpenError::Foreign { path: path.clone() }));
            }
            let length = file.seek(SeekFrom::End(0))?;
            Ok(Ok((file, length)))
        };
        let (file, length) = open().map_err(failed)??;
        let older = (1..SEGMENTS).map_while(|n| std::fs::metadata(numbered(&path, n)).ok()).map(|m| m.len()).collect();
        let mut files = Files { path: path.clone(), most, file, current: length, older };
        if length > 0 {
            files.rotate().map_err(failed)?;
        }
        Ok(files)
    }

    /// The current file becomes `FILE.1`, that `FILE.2`, and so on; a new one begins.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        while self.older.len() >= SEGMENTS - 1 {
            self.drop_oldest()?;
        }
        for n in (1..=self.older.len()).rev() {
            std::fs::rename(numbered(&self.path, n), numbered(&self.path, n + 1))?;
        }
        std::fs::rename(&self.path, numbered(&self.path, 1))?;
        self.older.insert(0, self.current);
        self.file = OpenOptions::new().write(true).create_new(true).open(&self.path)?;
        // The lock of before went with the file that it was on.
        drop(self.file.try_lock());
        self.current = 0;
        Ok(())
    }

    /// Appends whole records. What fails halfway is taken back, so that the file ends where a record does.
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        let more = records.len() as u64;
        if self.current + more > self.most {
            return Err(io::Error::other("one file alone would be longer than all may be; raise --record-max-bytes"));
        }
        while self.older.iter().sum::<u64>() + self.current + more > self.most {
            self.drop_oldest()?;
        }
        if let Err(error) = self.file.write_all(records) {
            // Where not even that is possible the reader finds a torn tail.
            drop(self.file.set_len(self.current).and_then(|()| self.file.seek(SeekFrom::Start(self.current))));
            return Err(error);
        }
        self.current += more;
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.current == 0
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn drop_oldest(&mut self) -> io::Result<()> {
        match std::fs::remove_file(numbered(&self.path, self.older.len())) {
            // Somebody was quicker.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => drop(self.older.pop()),
        }
        Ok(())
    }
}

fn numbered(path: &Path, n: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}
