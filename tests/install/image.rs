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
    let [builder, binary, image] = &stages[..] else { panic!("{stages:?}") };
    assert_eq!(binary, "scratch AS binary");
    assert!(builder.contains("bookworm") && image.contains("debian12:nonroot"), "one Debian, one glibc: {stages:?}");
    assert!(dockerfile().contains(concat!("image.version=\"", env!("CARGO_PKG_VERSION"), "\"")));
    let everything = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.dockerignore")).unwrap();
    assert!(everything.lines().any(|line| line == "*"), "only what is named goes into the build");
}

/// The script that prepares the builder for an architecture, with the commands that it would install by replaced.
#[test]
fn the_builder_compiles_for_both_architectures() {
    let script = instructions("RUN").into_iter().find(|run| run.contains("TARGETARCH")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    let script = script.replace("/target", target.to_str().unwrap());
    let run = |build: &str, wanted: &str| {
        let commands = "apt-get() { echo \"$@\" >&2; }; rm() { :; }; rustup() { echo \"$@\"; }\n";
        let mut shell = Command::new("bash");
        shell.args(["-ec", &format!("{commands}{script}")]).env("BUILDARCH", build).env("TARGETARCH", wanted);
        (shell.output().unwrap(), fs::read_to_string(&target).unwrap_or_default())
    };
    for (build, wanted, rust, cross) in [
        ("amd64", "amd64", "x86_64-unknown-linux-gnu", None),
        ("arm64", "arm64", "aarch64-unknown-linux-gnu", None),
        ("amd64", "arm64", "aarch64-unknown-linux-gnu", Some(("gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc"))),
        ("arm64", "amd64", "x86_64-unknown-linux-gnu", Some(("gcc-x86-64-linux-gnu", "x86_64-linux-gnu-gcc"))),
    ] {
        let (output, variables) = run(build, wanted);
        assert!(printed(output.clone()).contains(&format!("target add {rust}")), "{build} to {wanted}");
        assert!(variables.contains(&format!("RUST_TARGET={rust}")), "{variables}");
        let installed = String::from_utf8(output.stderr).unwrap();
        assert_eq!(installed.contains("install"), cross.is_some(), "{build} to {wanted}: {installed}");
        if let Some((package, linker)) = cross {
            let variable = rust.to_uppercase().replace('-', "_");
            assert!(installed.contains(package), "{installed}");
            assert!(variables.contains(&format!("CARGO_TARGET_{variable}_LINKER={linker}")), "{variables}");
        }
    }
    assert!(!run("amd64", "riscv64").0.status.success());
}

#[test]
fn the_builder_is_new_enough() {
    let version = |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap()).collect() };
    let image = &instructions("FROM")[0];
    let builder = image.strip_prefix("--platform=$BUILDPLATFORM rust:").unwrap().split('-').next().unwrap();
    assert!(version(builder) >= version(env!("CARGO_PKG_RUST_VERSION")), "{builder}");
}
