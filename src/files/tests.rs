//! Files that change: what is read, applied and reported.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::*;
use crate::catalog::{Change, ObjectKind};

fn endpoint(name: &str, extra: &str) -> String {
    format!(
        "---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{name: {name}}}\nspec:\n  \
         verification: {{none: {{}}}}\n{extra}"
    )
}

/// A directory and its source.
struct Files {
    directory: TempDir,
    source: FileSource,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = FileSource::new(vec![directory.path().to_path_buf()]);
        Self { directory, source }
    }

    fn write(&self, name: &str, text: &str) {
        // Renamed into place, so that it is another file.
        let fresh = self.directory.path().join("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.directory.path().join(name)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.directory.path().join(name)).unwrap();
    }

    /// The changes in short, without `Synced`; `None` if no file has changed.
    fn try_scan(&mut self) -> Option<(Vec<String>, Vec<String>)> {
        let SourceScan { changes, reports } = self.source.scan().unwrap()?;
        let changes = changes.iter().filter_map(|change| match change {
            Change::Endpoint(applied) => {
                let source = applied.source.as_deref().and_then(|source| Path::new(source).file_name()).unwrap();
                Some(format!("{} at {}", applied.key.name, source.display()))
            }
            Change::Gone(ObjectKind::Endpoint, key) => Some(format!("{} gone", key.name)),
            Change::Synced(_) => None,
            other => Some(format!("{other:?}")),
        });
        Some((changes.collect(), reports.iter().map(ToString::to_string).collect()))
    }

    fn changes(&mut self) -> Vec<String> {
        let (changes, reports) = self.try_scan().unwrap();
        assert!(reports.is_empty(), "{reports:?}");
        changes
    }
}

#[test]
fn what_does_not_change_is_not_handed_on_again() {
    let mut files = Files::new();
    files.write("b.yaml", &(endpoint("one", "") + &endpoint("two", "")));
    files.write("d.yaml", &endpoint("three", ""));
    assert_eq!(files.changes(), ["one at b.yaml:2", "three at d.yaml:2", "two at b.yaml:8"]);
    assert!(files.try_scan().is_none(), "nothing was written");
    files.write("d.yaml", &endpoint("three", ""));
    assert!(files.try_scan().is_none(), "the same text");
    files.write("d.yaml", &(endpoint("three", "") + "# a comment\n"));
    assert_eq!(files.changes(), [""; 0]);
    files.write("b.yaml", &(endpoint("one", "") + &endpoint("two", "  suspend: true\n")));
    assert_eq!(files.changes(), ["two at b.yaml:8"]);
    for (number, name) in ["c.yaml", "a.yaml", "e.yaml"].into_iter().enumerate() {
        files.write(name, &endpoint(&format!("new-{number}"), ""));
        assert_eq!(files.changes(), [format!("new-{number} at {name}:2")], "others keep their numbers");
    }
    files.remove("b.yaml");
    assert_eq!(files.changes(), ["one gone", "two gone"]);
}

#[test]
fn the_status_in_a_file_is_not_believed() {
    let mut files = Files::new();
    files.write(
        "replay.yaml",
        "apiVersion: grapnel.dev/v1beta1\nkind: WebhookReplay\nmetadata: {name: again}\nspec:\n  \
         subscriptionRef: {name: out}\n  select: {deadLettered: true}\nstatus: {matched: 7}\n",
    );
    let changes = files.source.scan().unwrap().unwrap().changes;
    let statuses: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Replay(applied) => Some(&applied.object.status),
            _ => None,
        })
        .collect();
    assert_eq!(statuses, [&None]);
}

#[test]
fn of_two_objects_of_one_name_the_first_counts_and_the_other_takes_its_place() {
    let mut files = Files::new();
    files.write("b.yaml", &endpoint("one", ""));
    assert_eq!(files.changes(), ["one at b.yaml:2"]);
    // The object was handed over and is not in memory; it is read again when it counts again.
    files.write("a.yaml", &endpoint("one", "  suspend: true\n"));
    let (changes, reports) = files.try_scan().unwrap();
    assert_eq!(changes, ["one at a.yaml:2"]);
    assert!(reports[0].contains("b.yaml:4") && reports[0].contains("already defined at"), "{reports:?}");
    files.remove("a.yaml");
    assert_eq!(files.changes(), ["one at b.yaml:2"]);
    files.write("c.yaml", &endpoint("one", "  suspend: true\n"));
    let (changes, reports) = files.try_scan().unwrap();
    assert!(changes.is_empty() && reports[0].contains("c.yaml:4"), "{reports:?}");
    files.remove("b.yaml");
    assert_eq!(files.changes(), ["one at c.yaml:2"]);
}

#[test]
fn a_file_that_breaks_keeps_what_it_defined() {
    let mut files = Files::new();
    files.write("a.yaml", &(endpoint("one", "") + &endpoint("two", "")));
    files.changes();
    files.write("a.yaml", "kind: [");
    let (changes, reports) = files.try_scan().unwrap();
    assert!(changes.is_empty() && reports[0].contains("last valid version"), "{reports:?}");
    assert!(files.try_scan().is_none(), "said once");
    files.write("a.yaml", &(endpoint("one", "") + &endpoint("two", "").replace("name: two", "nome: two")));
    let (changes, reports) = files.try_scan().unwrap();
    assert!(changes.is_empty() && reports[0].contains("metadata.name is missing"), "{reports:?}");
    let place =
        files.source.place(ObjectKind::Endpoint, &grapnel_api::ObjectKey::new("default", "one"), "/spec/verification");
    assert_eq!(place.unwrap().line, 6);
    files.write("a.yaml", &endpoint("one", ""));
    assert_eq!(files.changes(), ["two gone"]);
}

#[test]
fn many_files_before_and_between_others_find_their_places() {
    let mut files = Files::new();
    files.write("m.yaml", &endpoint("m", ""));
    files.write("z.yaml", &endpoint("z", ""));
    files.changes();
    // Each file directly after the first one, so that the room between two files halves every time.
    let mut renumbered = 0;
    for number in (0..40).rev() {
        files.write(&format!("m{number:02}.yaml"), &endpoint(&format!("m{number}"), ""));
        let changes = files.changes();
        let own = format!("m{number} at m{number:02}.yaml:2");
        assert!(changes.contains(&own), "{changes:?}");
        renumbered += usize::from(changes.len() > 1);
    }
    assert_eq!(renumbered, 1);
    for number in (0..40).rev() {
        files.write(&format!("a{number:02}.yaml"), &endpoint(&format!("a{number}"), ""));
        assert_eq!(files.changes().len(), 1);
    }
}

/// A filter without a value lets everything through, which is rarely meant.
#[test]
fn null_is_warned_about() {
    let text = "apiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {name: out, creationTimestamp: null}\n\
                spec:\n  endpointRef: {name: in}\n  filter: # todo\n  target: {url: https://example.com/}\nstatus: null\n";
    let document = Document::parse(text).unwrap().remove(0);
    let object::Definition::Object { object: object::Object::Subscription(_), warnings, .. } =
        object::read(&document, false).unwrap()
    else {
        panic!("{text}");
    };
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["spec.filter: null is the same as no value; remove the field, or give it a value"]);
    // Schemas may say null, and have a warning of their own.
    let schema = endpoint("in", "  schemas: [{types: [a], schema: {default: null}}]\n  path: null\n");
    let document = Document::parse(&schema).unwrap().remove(0);
    let object::Definition::Object { warnings, .. } = object::read(&document, false).unwrap() else {
        panic!("{schema}")
    };
    let warnings: Vec<_> = warnings.iter().map(|warning| warning.pointer.clone()).collect();
    assert_eq!(warnings, ["/spec/path", "/spec/schemas/0/schema/default"]);
}

#[test]
fn a_time_is_refused_at_its_field() {
    let text = "apiVersion: grapnel.dev/v1beta1\nkind: WebhookReplay\nmetadata: {name: again}\nspec:\n  \
                subscriptionRef: {name: out}\n  select: {since: 24h}\n";
    let document = Document::parse(text).unwrap().remove(0);
    let read = object::read(&document, false).unwrap();
    let object::Definition::Object { object: object::Object::Refused(object::Refused { problems, .. }), .. } = read
    else {
        panic!("{text}")
    };
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, ["spec.select.since: \"24h\" is not a time; write it as \"2026-01-31T12:00:00Z\""]);
}
