//! Checkpoints in a folder (`--state-dir`): one file a shard.
//!
//! A file is written under a temporary name, brought to the disk, and then takes its place, so that at any moment, and
//! after any end, there is a whole one: the new or the old. The folder is one process's; two replicas that share one would
//! take turns in it only as far as only their leader writes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{SHARDS, Saved, Store, StoreError, Stored};

/// Nothing but the disk bounds a file; this bounds what is read of one that is not ours.
const LARGEST: u64 = 64 << 20;

/// A folder with a file for each shard.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder, if it is not there, and makes sure that it can be written to.
    ///
    /// # Errors
    /// It cannot.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        fs::create_dir_all(&path)?;
        let probe = path.join(".tidegate-probe");
        fs::write(&probe, b"")?;
        fs::remove_file(&probe)?;
        Ok(Folder { path })
    }

    fn file(&self, shard: usize) -> PathBuf {
        self.path.join(format!("checkpoint-{shard}.tidegate"))
    }
}

impl Store for Folder {
    const LABEL: &'static str = "folder";

    fn room(&self) -> usize {
        usize::try_from(LARGEST).unwrap_or(usize::MAX)
    }

    async fn load(&mut self) -> Vec<Stored> {
        let folder = self.clone();
        off_thread(move || {
            let mut stored = Vec::new();
            for shard in 0..SHARDS {
                let path = folder.file(shard);
                let place = path.display().to_string();
                match read(&path) {
                    Ok(bytes) => stored.push(Stored { shard, place, bytes: Ok(bytes) }),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => stored.push(Stored { shard, place, bytes: Err(StoreError(error.to_string())) }),
                }
            }
            Ok(stored)
        })
        .await
        .unwrap_or_else(|error| {
            vec![Stored { shard: 0, place: self.path.display().to_string(), bytes: Err(StoreError(error.to_string())) }]
        })
    }

    async fn save(&mut self, shard: usize, bytes: Vec<u8>) -> Result<Saved, StoreError> {
        let path = self.file(shard);
        let folder = self.path.clone();
        let place = path.display().to_string();
        off_thread(move || write(&folder, &path, &bytes))
            .await
            .map(|()| Saved::Written)
            .map_err(|error| StoreError(format!("{place}: {error}")))
    }
}

/// Disks take their time, and this thread serves.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|broken| Err(io::Error::other(broken)))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > LARGEST {
        return Err(io::Error::other(format!("it is larger than {LARGEST} bytes, so it is none of ours")));
    }
    fs::read(path)
}

fn write(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tidegate-new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    // The name is in the folder, which is brought to the disk by itself.
    File::open(folder)?.sync_all()
}
