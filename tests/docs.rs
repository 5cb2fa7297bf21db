//! Every YAML in the documentation is good, and every file it speaks of is there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

use std::{fs, path::Path, process::Command};

use grapnel_signature::{Provider, Scheme, names, provider};

#[path = "../examples/providers.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the example, which writes the document")]
mod generated;

/// The YAML blocks of a Markdown text.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "```yaml" {
            let block: Vec<_> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

fn documents() -> Vec<std::path::PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = Vec::new();
    for directory in ["", "docs", "docs/adr", "docs/dev"] {
        documents.extend(fs::read_dir(root.join(directory)).unwrap().map(|entry| entry.unwrap().path()));
    }
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents
}

#[test]
fn every_yaml_block_passes_grapnel_check() {
    let mut checked = 0;
    for document in documents() {
        let blocks = blocks(&fs::read_to_string(&document).unwrap());
        if blocks.is_empty() {
            continue;
        }
        // The blocks of one document belong together: Secrets are written once.
        let directory = tempfile::tempdir().unwrap();
        for (number, block) in blocks.iter().enumerate() {
            fs::write(directory.path().join(format!("block-{number:02}.yaml")), block).unwrap();
        }
        let output = Command::new(env!("CARGO_BIN_EXE_grapnel"))
            .args(["check", "--allow-loopback", "-f"])
            .arg(directory.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}:\n{}{}",
            document.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        checked += blocks.len();
    }
    assert!(checked >= 8, "only {checked} blocks were found; the search is broken");
}

#[test]
fn links_inside_the_repository_lead_somewhere() {
    let mut seen = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            seen += 1;
            assert!(document.parent().unwrap().join(target).exists(), "{}: {target}", document.display());
        }
    }
    assert!(seen > 0, "no link was found; the search is broken");
}

#[test]
fn the_documentation_says_what_the_provider_table_says() {
    let text = providers();
    let expected = generated::written(&text).expect("docs/providers.md lacks the lines around the generated part");
    assert!(expected == text, "docs/providers.md differs from the provider table: run `just generate`");
}

/// The first table of the document is written by hand: one line for each provider.
#[test]
fn every_provider_has_a_line_of_documentation() {
    let text = providers();
    let by_hand = text.split(generated::MARKERS[0]).next().unwrap();
    for name in names() {
        let lines = by_hand.lines().filter(|line| line.starts_with(&format!("| `{name}` |"))).count();
        assert_eq!(lines, 1, "docs/providers.md: the first table needs one line for {name}, and has {lines}");
    }
}

/// What is particular to a provider is shown by an example; a plain one looks like that of GitHub.
#[test]
fn no_provider_has_two_examples_of_the_same() {
    let blocks = blocks(&providers());
    for name in names() {
        let line = format!("      name: {name}");
        let examples = blocks.iter().filter(|block| block.lines().any(|other| other == line)).count();
        // One for each of its ways.
        let ways = if let Some(Scheme::SignatureOrToken(_)) = provider(name).map(Provider::scheme) { 2 } else { 1 };
        assert!(examples <= ways, "{name} has {examples} examples");
        let plain = provider(name).is_some_and(|provider| provider.scheme().needs_secrets());
        assert!(plain || examples == ways, "{name} needs more than secretRefs, so it needs an example");
    }
}

fn providers() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md")).unwrap()
}
