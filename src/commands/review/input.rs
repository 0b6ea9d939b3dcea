//! The files that `review` reads: those that are named, and those of a directory that have the name of a manifest, as
//! `kubectl apply -f DIR` reads them. What looks like the source of manifests is not reviewed in their place: the hint says how to
//! render it.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::manifest::{KUSTOMIZATION, ManifestError};
use portreeve_verify::ordered;
use portreeve_verify::text::printable;

/// The most files of a directory.
const MAX_FILES: usize = 10_000;

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// What to do with a chart.
const CHART: &str = "this is part of a Helm chart; review what it renders: helm template CHART | portreeve review -";

/// A path in messages.
pub(super) fn shown(path: &Path) -> String {
    printable(&path.display().to_string(), 400)
}

/// The files that a path stands for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) files: Vec<PathBuf>,
    /// Directories in the directory. They are not read, and this is said.
    pub(super) directories: Vec<PathBuf>,
}

impl Files {
    /// A file, or the manifests of a directory in the order of their names.
    pub(super) fn of(path: &Path) -> Result<Self, String> {
        if !path.is_dir() {
            return Ok(Self { files: vec![path.to_owned()], directories: Vec::new() });
        }
        let has = |name: &str| path.join(name).is_file();
        if KUSTOMIZATIONS.into_iter().any(has) {
            return Err(KUSTOMIZATION.to_owned());
        }
        if has("Chart.yaml") {
            return Err(CHART.to_owned());
        }
        let mut found = Self::default();
        for entry in fs::read_dir(path).map_err(|error| format!("cannot be read: {error}"))? {
            let path = entry.map_err(|error| format!("cannot be read: {error}"))?.path();
            if path.is_dir() {
                found.directories.push(path);
            } else if path.extension().is_some_and(|found| EXTENSIONS.iter().any(|extension| found == *extension)) {
                // Also a pipe, or a link to nothing: what cannot be read must be said.
                found.files.push(path);
            }
            if found.files.len() + found.directories.len() > MAX_FILES {
                return Err(format!("has more than {MAX_FILES} manifests"));
            }
        }
        ordered::sort_by(&mut found.files, |a, b| a.cmp(b));
        ordered::sort_by(&mut found.directories, |a, b| a.cmp(b));
        Ok(found)
    }
}

/// What a file probably is, if it is the source of manifests.
pub(super) fn hint(path: Option<&Path>, bytes: &[u8], error: &ManifestError) -> Option<&'static str> {
    let name = path.and_then(|path| path.file_name()?.to_str()).unwrap_or_default();
    match error {
        ManifestError::Yaml(_) if has_template(bytes) => Some(CHART),
        ManifestError::NotAnObject { .. } if KUSTOMIZATIONS.contains(&name) => Some(KUSTOMIZATION),
        ManifestError::NotAnObject { .. } if matches!(name, "Chart.yaml" | "values.yaml") => Some(CHART),
        _ => None,
    }
}

/// Does a text have the actions of Go's templates, which Helm uses?
fn has_template(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"{{") && bytes.windows(2).any(|pair| pair == b"}}")
}

#[cfg(test)]
mod tests {
    use portreeve_test_support::temp::TempDir;

    use super::*;
    use crate::admission::custom::CustomKinds;

    #[test]
    fn a_directory_is_read_as_kubectl_reads_it() {
        let directory = TempDir::new();
        for name in ["b.yaml", "a.json", "c.yml", "README.md", "d.yaml.bak", ".e.yaml", "sub/f.yaml"] {
            directory.write(name, "");
        }
        let found = Files::of(directory.path()).unwrap();
        let names = |paths: &[PathBuf]| {
            paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&found.files), [".e.yaml", "a.json", "b.yaml", "c.yml"]);
        assert_eq!(names(&found.directories), ["sub"]);
        let file = directory.path().join("README.md");
        assert_eq!(Files::of(&file).unwrap().files, [file]);
    }

    #[test]
    fn sources_of_manifests_are_not_taken_for_manifests() {
        for (name, word) in [
            ("kustomization.yaml", "kubectl kustomize"),
            ("Kustomization", "kubectl kustomize"),
            ("Chart.yaml", "helm"),
        ] {
            let directory = TempDir::new();
            directory.write("deployment.yaml", "");
            directory.write(name, "");
            assert!(Files::of(directory.path()).unwrap_err().contains(word), "{name}");
        }
        let error =
            super::super::super::manifest::read(b"name: {{ .Values.name }}\n", "default", CustomKinds::default())
                .unwrap_err();
        assert_eq!(hint(None, b"name: {{ .Values.name }}\n", &error), Some(CHART));
        assert_eq!(hint(None, b"name: {\n", &error), None);
        let error = super::super::super::manifest::read(b"resources: [a.yaml]\n", "default", CustomKinds::default())
            .unwrap_err();
        assert_eq!(hint(Some(Path::new("x/kustomization.yml")), b"", &error), Some(KUSTOMIZATION));
        assert_eq!(hint(Some(Path::new("x/values.yaml")), b"", &error), Some(CHART));
        assert_eq!(hint(Some(Path::new("x/other.yaml")), b"", &error), None);
    }
}
