//! A scenario with its files as one: a `tar.gz`, read within bounds and written. flate2's and tar's one home.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Component, Path};
use std::sync::Arc;

use commedia_domain::scenario::{Bundle, MAX_FILE_BYTES};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::source::{Folder, Source};

/// Bytes of all files together, unpacked.
const MAX_BYTES: u64 = 32 << 20;
/// Files and folders.
const MAX_ENTRIES: usize = 1_000;
/// What a scenario's own file ends with.
const ENDS: [&str; 3] = [".scenario.yaml", ".scenario.yml", ".scenario.json"];

/// A path within the bundle, in its plainest form; `None` for one that leads out of it.
fn plain(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(parts.join("/"))
}

/// The scenario in a `tar.gz`: its one file that ends in `.scenario.yaml` at the top, or in the one folder that everything stands in.
pub(crate) fn read(bytes: &[u8]) -> Result<Source, String> {
    // One byte more, so that a bomb is seen to be one.
    let mut archive = tar::Archive::new(GzDecoder::new(bytes).take(MAX_BYTES + 1 + (MAX_ENTRIES as u64) * 1024));
    let mut files: BTreeMap<String, Arc<[u8]>> = BTreeMap::new();
    let (mut entries, mut total) = (0, 0);
    for entry in archive.entries().map_err(|e| format!("it is no tar.gz: {e}"))? {
        let mut entry = entry.map_err(|e| format!("it is no tar.gz, or larger than {} MiB unpacked: {e}", MAX_BYTES >> 20))?;
        entries += 1;
        if entries > MAX_ENTRIES {
            return Err(format!("it holds more than {MAX_ENTRIES} files"));
        }
        let path = entry.path().ok().and_then(|path| plain(&path)).ok_or("a path in it leads out of it")?;
        match entry.header().entry_type() {
            tar::EntryType::Regular => {}
            tar::EntryType::Directory | tar::EntryType::XGlobalHeader => continue,
            other => return Err(format!("`{path}` is neither file nor folder ({other:?})")),
        }
        let mut content = Vec::new();
        let most = (MAX_FILE_BYTES as u64).min(MAX_BYTES - total);
        (&mut entry).take(most + 1).read_to_end(&mut content).map_err(|e| format!("`{path}` cannot be read: {e}"))?;
        total += content.len() as u64;
        if content.len() as u64 > most {
            return Err(format!(
                "`{path}` is too large: a file has {} MiB at most, all together {}",
                MAX_FILE_BYTES >> 20,
                MAX_BYTES >> 20
            ));
        }
        if files.insert(path.clone(), content.into()).is_some() {
            return Err(format!("`{path}` is in it twice"));
        }
    }
    let files = at_top(files);
    let is_scenario = |path: &&String| !path.contains('/') && ENDS.iter().any(|end| path.ends_with(end));
    let found: Vec<String> = files.keys().filter(is_scenario).cloned().collect();
    match found.as_slice() {
        [name] => {
            let bytes = files[name].to_vec();
            Ok(Source { name: name.clone(), bytes, files: Folder::Pack(files) })
        }
        [] => Err("no file at its top ends in `.scenario.yaml`".into()),
        several => Err(format!("several files at its top are scenarios: {}", several.join(", "))),
    }
}

/// Without the one folder that everything stands in, where there is one.
fn at_top(files: BTreeMap<String, Arc<[u8]>>) -> BTreeMap<String, Arc<[u8]>> {
    let folder = files.keys().next().and_then(|path| path.split_once('/')).map(|(folder, _)| format!("{folder}/"));
    match folder {
        Some(folder) if files.keys().all(|path| path.starts_with(&folder)) => {
            files.into_iter().map(|(path, bytes)| (path[folder.len()..].to_owned(), bytes)).collect()
        }
        _ => files,
    }
}

/// A compiled scenario's bundle as a `tar.gz`; the same bytes for the same bundle.
pub(crate) fn write(name: &str, bundle: &Bundle) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut put = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, bytes)
    };
    put(&format!("{name}.scenario.json"), bundle.document.as_bytes())?;
    for (path, bytes) in &bundle.files {
        put(path, bytes)?;
    }
    let mut packed = archive.into_inner()?;
    packed.flush()?;
    packed.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packs;

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            // As an attacker writes it: the library's own way refuses such paths.
            let name = &mut header.as_old_mut().name;
            name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            archive.append(&header, *bytes).expect("packed");
        }
        archive.into_inner().expect("a stream").finish().expect("packed")
    }

    #[test]
    fn a_bundle_is_the_scenario_it_was_made_of() {
        for pack in packs::PACKS {
            let scenario = Source::pack(pack).load().unwrap_or_else(|f| panic!("{}", f[0])).scenario;
            let bytes = write(&scenario.name, &scenario.bundle).expect("packed");
            assert_eq!(bytes, write(&scenario.name, &scenario.bundle).expect("packed"), "{}", pack.name);
            let again = read(&bytes).expect("read").load().unwrap_or_else(|f| panic!("{}: {}", pack.name, f[0])).scenario;
            assert_eq!(again.hash, scenario.hash, "{}", pack.name);
        }
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        let check = |bytes: &[u8], expect: &str| {
            let found = read(bytes).map_or_else(|e| e, |source| source.name);
            assert!(found.contains(expect), "{found}, not {expect}");
        };
        let ok: &[u8] = b"name: x";
        check(&packed(&[("a.scenario.yaml", ok)]), "a.scenario.yaml");
        check(&packed(&[("./a.scenario.yaml", ok), ("./data/b.csv", ok)]), "a.scenario.yaml");
        check(&packed(&[("box/a.scenario.yaml", ok), ("box/data/b.csv", ok)]), "a.scenario.yaml");
        check(&packed(&[("a.yaml", ok)]), "no file at its top");
        check(&packed(&[("a.scenario.yaml", ok), ("b.scenario.yaml", ok)]), "several files");
        check(&packed(&[("../a.scenario.yaml", ok)]), "leads out of it");
        check(&packed(&[("/a.scenario.yaml", ok)]), "leads out of it");
        check(&packed(&[("a.scenario.yaml", ok), ("a.scenario.yaml", ok)]), "twice");
        check(b"no archive", "it is no tar.gz");
        check(b"", "it is no tar.gz");
        let mut cut = packed(&[("a.scenario.yaml", ok)]);
        cut.truncate(20);
        check(&cut, "it is no tar.gz");
        let many: Vec<(String, &[u8])> = (0..=MAX_ENTRIES).map(|n| (format!("{n}"), &b""[..])).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect();
        check(&packed(&many), "more than 1000 files");
        let large = vec![0; MAX_FILE_BYTES + 1];
        check(&packed(&[("a.scenario.yaml", &large)]), "too large");
    }
}
