//! The image, as far as it can be judged without building it.

use std::{collections::BTreeSet, fs, process::Command};

use crate::chart::printed;

fn dockerfile() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile")).unwrap()
}

/// What comes after an instruction's name, for each time it stands there.
fn instructions(name: &str) -> Vec<String> {
    let text = dockerfile().replace("\\\n", " ");
    text.lines().filter_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned)).collect()
}

#[test]
fn the_binary_needs_no_library_that_the_image_lacks() {
    let loaded = printed(Command::new("ldd").arg(env!("CARGO_BIN_EXE_grapnel")).output().unwrap());
    let names: BTreeSet<_> = loaded
        .lines()
        .map(|line| line.split_whitespace().next().unwrap().rsplit('/').next().unwrap())
        .map(|name| name.split(".so").next().unwrap().trim_end_matches("-x86-64").trim_end_matches("-aarch64"))
        .collect();
    // distroless/cc has more; these are all that is needed.
    let there = BTreeSet::from(["ld-linux", "libc", "libgcc_s", "libm", "linux-vdso"]);
    assert!(names.is_subset(&there), "{loaded}");
}

#[test]
fn the_image_runs_the_operator_without_rights() {
    assert_eq!(instructions("USER"), ["65532:65532"]);
    assert_eq!(instructions("ENTRYPOINT"), [r#"["/usr/local/bin/grapnel"]"#]);
    assert_eq!(instructions("CMD"), [r#"["run"]"#]);
    let stages = instructions("FROM");
    assert_eq!(stages.len(), 2);
    assert!(
        stages[0].contains("bookworm") && stages[1].contains("debian12:nonroot"),
        "one Debian, one glibc: {stages:?}"
    );
    assert!(dockerfile().contains(concat!("image.version=\"", env!("CARGO_PKG_VERSION"), "\"")));
    let everything = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.dockerignore")).unwrap();
    assert!(everything.lines().any(|line| line == "*"), "only what is named goes into the build");
}

#[test]
fn the_builder_is_new_enough() {
    let version = |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap()).collect() };
    let image = &instructions("FROM")[0];
    let builder = image.strip_prefix("rust:").unwrap().split('-').next().unwrap();
    assert!(version(builder) >= version(env!("CARGO_PKG_RUST_VERSION")), "{builder}");
}
