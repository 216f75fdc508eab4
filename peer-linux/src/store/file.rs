//! The store's file: opening it, and setting a damaged one aside.

use super::CACHE;
use anyhow::{Context, bail};
use redb::{Database, DatabaseError, StorageError};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What was found where the store should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// The store, whole.
    Known,
    /// Nothing: the store is new and needs a new tag (R4).
    Fresh,
    /// A damaged file, now under this name: the store is new and needs a new tag (R4).
    Damaged(PathBuf),
}

/// Opens or makes the file.
pub(super) fn open(path: &Path) -> anyhow::Result<(Database, Found)> {
    let is_there = match fs::metadata(path) {
        Ok(meta) => meta.len() > 0,
        Err(e) if e.kind() == ErrorKind::NotFound => false,
        Err(e) => return Err(e).with_context(|| format!("{}", path.display())),
    };
    match try_open(path) {
        Ok(Some(db)) => Ok((db, if is_there { Found::Known } else { Found::Fresh })),
        Ok(None) => {
            let aside = set_aside(path)?;
            let db = try_open(path)?.context("a new store is damaged at once")?;
            Ok((db, Found::Damaged(aside)))
        }
        Err(e) => Err(e).with_context(|| format!("{}", path.display())),
    }
}

/// None if the file is damaged.
pub(super) fn try_open(path: &Path) -> anyhow::Result<Option<Database>> {
    // Some damage is met by an assertion of redb's.
    let opened = std::panic::catch_unwind(|| Database::builder().set_cache_size(CACHE).create(path));
    match opened {
        Err(_) => Ok(None),
        Ok(Ok(db)) => Ok(Some(db)),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => bail!("another program has the store open"),
        Ok(Err(e)) if is_damage(&e) => Ok(None),
        Ok(Err(e)) => Err(e.into()),
    }
}

fn is_damage(e: &DatabaseError) -> bool {
    match e {
        DatabaseError::RepairAborted | DatabaseError::UpgradeRequired(_) => true,
        DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        DatabaseError::Storage(StorageError::Io(e)) => {
            matches!(e.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::InvalidInput)
        }
        _ => false,
    }
}

/// Renames the file to `store.redb.damaged-<seconds since 1970>`.
pub(super) fn set_aside(path: &Path) -> anyhow::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".damaged-{now}"));
    let aside = PathBuf::from(name);
    fs::rename(path, &aside).with_context(|| format!("{} cannot be set aside", path.display()))?;
    Ok(aside)
}
