//! Directories as kubelet mounts ConfigMaps and Secrets: each file is a link through `..data`, and an update replaces
//! that one link.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// One mounted ConfigMap or Secret.
#[derive(Clone, Debug)]
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// The mount at a path, created empty if there is none.
    pub(crate) fn at(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let mount = Self(path);
        if !mount.0.join("..data").exists() {
            mount.swap(&[]);
        }
        mount
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Replaces all files at once, in kubelet's own steps: a new directory, its link renamed over the old one, new
    /// names linked, old names unlinked, the old directory removed.
    pub(crate) fn swap(&self, files: &[(&str, &str)]) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("..2026_01_01_00_00_00.{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let fresh = self.0.join(&name);
        fs::create_dir(&fresh).unwrap();
        for (file, content) in files {
            fs::write(fresh.join(file), content).unwrap();
        }
        let data = self.0.join("..data");
        let old = fs::read_link(&data).ok();
        let temporary = self.0.join("..data_tmp");
        symlink(&name, &temporary).unwrap();
        fs::rename(&temporary, &data).unwrap();
        for (file, _) in files {
            let link = self.0.join(file);
            if link.symlink_metadata().is_err() {
                symlink(Path::new("..data").join(file), link).unwrap();
            }
        }
        for entry in fs::read_dir(&self.0).unwrap() {
            let entry = entry.unwrap();
            let kept = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with("..") || files.iter().any(|(file, _)| *file == name));
            if !kept {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(self.0.join(old)).unwrap();
        }
    }
}
