//! Every YAML in the documentation is good, and every file it speaks of is there.

use std::{fs, path::Path, process::Command};

use grapnel_signature::{Provider, Scheme, names, provider};

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
fn every_sender_has_a_row_and_an_example() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md");
    let text = fs::read_to_string(path).unwrap();
    let blocks = blocks(&text);
    for name in names() {
        assert!(text.contains(&format!("\n| `{name}` |")), "{name} has no row in the table");
        let line = format!("      name: {name}");
        let examples = blocks.iter().filter(|block| block.lines().any(|other| other == line)).count();
        // One for each of its ways.
        let ways = if let Some(Scheme::SignatureOrToken(_)) = provider(name).map(Provider::scheme) { 2 } else { 1 };
        assert_eq!(examples, ways, "{name} has {examples} examples");
    }
}
