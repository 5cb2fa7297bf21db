//! The layout is the architecture: modules import down the list, never up, never sideways, and `rules` does no I/O.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Top to bottom. Modules on one line are siblings and do not know each other.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["runtime"],
    &["controller", "files"],
    &["admin"],
    &["ingress"],
    &["connections"],
    &["dispatch"],
    &["journal"],
    &["catalog"],
    &["api"],
    &["rules", "telemetry"],
];

/// Siblings that may be used all the same: metrics and rules are at the bottom together, and bounds are rules.
const ALLOWED_SIDEWAYS: &[(&str, &str)] = &[("telemetry", "rules")];

/// The data plane's servers do not know each other, wherever they stand.
const STRANGERS: &[(&str, &str)] = &[("admin", "ingress"), ("admin", "dispatch"), ("ingress", "dispatch")];

/// Tasks that are short and may outlive whoever waits for them, with the reason.
const SHORT_TASKS: &[(&str, &str)] = &[
    ("admin/read.rs", "a read keeps its turn until its current step has ended, also when its request is cancelled"),
    ("dispatch/resolver.rs", "a lookup that several deliveries share goes on when the first of them is given up"),
];

/// Crates and modules that do I/O, wait, or belong to one side of the house: not for `rules`.
const NOT_PURE: &[&str] = &[
    "tokio::",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::thread",
    "std::env",
    "std::process",
    "reqwest",
    "axum",
    "hyper",
    "kube::",
    "k8s_openapi",
    "async fn",
    ".await",
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files
}

/// The code of a file without its comments and without its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The top-level modules that a piece of code names: `crate::x::…`, also within `use crate::{x::…, y::…}`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut name = String::new();
            let mut at_start = true;
            for character in group.chars() {
                match character {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => at_start = true,
                    _ if depth == 1 && at_start && (character.is_alphanumeric() || character == '_') => {
                        name.push(character)
                    }
                    _ if depth == 1 && at_start && character.is_whitespace() && name.is_empty() => {}
                    _ if depth == 1 => at_start = false,
                    _ => {}
                }
                if (!at_start || depth == 0 || character == ',') && !name.is_empty() {
                    found.push(std::mem::take(&mut name));
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            found.push(rest.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect());
        }
    }
    found
}

fn layers() -> BTreeMap<&'static str, usize> {
    LAYERS.iter().enumerate().flat_map(|(number, layer)| layer.iter().map(move |module| (*module, number))).collect()
}

fn module_of(path: &Path) -> Option<String> {
    let relative = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = relative.components().next()?.as_os_str().to_str()?;
    let module = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(module, "main" | "lib")).then(|| module.to_owned())
}

#[test]
fn imports_go_down_only() {
    let layers = layers();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let Some(module) = module_of(&path) else { continue };
        let Some(own) = layers.get(module.as_str()) else {
            panic!("{} belongs to no layer; give it a place in the list", path.display());
        };
        for import in imports(&code(&path)) {
            let Some(other) = layers.get(import.as_str()) else {
                panic!("{} imports crate::{import}, which is no module of the list", path.display());
            };
            seen += 1;
            let allowed = import == module
                || (other > own && !STRANGERS.contains(&(module.as_str(), import.as_str())))
                || ALLOWED_SIDEWAYS.contains(&(module.as_str(), import.as_str()));
            if !allowed {
                wrong.push(format!("{}: {module} imports {import}", path.display()));
            }
        }
    }
    assert!(seen > 50, "only {seen} imports were found; the search is broken");
    assert!(wrong.is_empty(), "imports that do not go down:\n{}", wrong.join("\n"));
}

#[test]
fn rules_are_pure() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rules");
    let mut wrong = Vec::new();
    for path in sources(&directory) {
        let code = code(&path);
        wrong.extend(
            NOT_PURE.iter().filter(|word| code.contains(**word)).map(|word| format!("{}: {word}", path.display())),
        );
    }
    assert!(wrong.is_empty(), "rules must stay pure:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_runtime_spawns_tasks_that_live_on() {
    // A task inside a JoinSet ends with its owner; a bare spawn outlives it and nobody hears when it dies.
    let mut wrong = Vec::new();
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        if module_of(&path).is_some_and(|module| module == "runtime") {
            continue;
        }
        if SHORT_TASKS.iter().any(|(file, _)| path.ends_with(file)) {
            continue;
        }
        let code = code(&path);
        if code.contains("tokio::spawn(") || code.contains("task::spawn(") {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "tasks are spawned outside runtime and outside a JoinSet:\n{}", wrong.join("\n"));
}

#[test]
fn the_search_finds_what_it_is_there_to_find() {
    assert_eq!(imports("use crate::api::Key; fn f() { crate::rules::x() }"), ["api", "rules"]);
    assert_eq!(
        imports("use crate::{\n    api::{self, Key},\n    rules::{a::b, c},\n    journal,\n};"),
        ["api", "rules", "journal"]
    );
}
