//! Every file of the fuzzer's corpus goes through what it was made for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

#[path = "../fuzz/targets.rs"]
#[allow(unreachable_pub, reason = "the fuzzers see it from outside")]
mod targets;

fn fuzz(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(part)
}

fn names(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// As large as the stack of the threads that serve requests.
const STACK: usize = 2 << 20;

/// At so many places of a file it is cut and changed; a `large-` one, which takes long by intent, nowhere.
const PLACES: usize = 100;

#[test]
fn every_file_of_the_corpus_is_read_as_promised() {
    for (name, target) in targets::TARGETS {
        let directory = fuzz("corpus").join(name);
        let files = names(&directory);
        assert!(!files.is_empty(), "no corpus for {name}");
        for file in files {
            let data = fs::read(directory.join(&file)).unwrap();
            let once = file.starts_with("large-");
            let thread = std::thread::Builder::new().name(format!("{name}/{file}")).stack_size(STACK);
            let tried = thread.spawn(move || {
                target(&data);
                if once {
                    return;
                }
                // What is cut short, or has one byte wrong, is where readers stumble.
                for end in (0..data.len()).step_by(data.len().div_ceil(PLACES).max(1)) {
                    target(&data[..end]);
                    let mut wrong = data.clone();
                    wrong[end] ^= 0x80 >> (end % 8);
                    target(&wrong);
                }
            });
            assert!(tried.unwrap().join().is_ok(), "fuzz/corpus/{name}/{file}, see above");
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_a_fuzzer() {
    let expected: BTreeSet<String> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz("corpus")), expected);
    let fuzzers = expected.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&fuzz("fuzz_targets")), fuzzers);
    let manifest = fs::read_to_string(fuzz("Cargo.toml")).unwrap();
    for name in &expected {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not in fuzz/Cargo.toml");
    }
}

#[test]
fn the_corpus_is_small() {
    let files = targets::TARGETS.iter().flat_map(|(name, _)| fs::read_dir(fuzz("corpus").join(name)).unwrap());
    let bytes: u64 = files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 1 << 20, "{bytes} bytes; `cargo fuzz cmin` keeps what is needed");
}
