//! YAML documents with line numbers.
//!
//! ```
//! use grapnel::files::Document;
//!
//! let documents = Document::parse("kind: Secret\n---\nkind: WebhookEndpoint\nspec:\n  path: orders\n").unwrap();
//! assert_eq!(documents.len(), 2);
//! assert_eq!(documents[1].line_of("/spec/path"), 5);
//! ```

use grapnel_values::secret::Wiped;
use serde_json::Value;
use serde_yaml::{budget, options};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    limits,
    lines::{Lines, PointerHash},
    node::{Tree, YamlNode},
    parse_error::ParseError,
};

/// A document whose nodes know their lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    root: YamlNode,
}

/// SHA-256 of a document's values, without comments and line numbers.
pub(super) type Digest = [u8; 32];

impl Document {
    /// Parses every document of a YAML or JSON text. Aliases, depth and size are bounded. A duplicate key is an error, and
    /// so is a value that another YAML reader reads otherwise.
    ///
    /// # Errors
    /// Returns an error with the line if the text is not valid YAML.
    pub fn parse(text: &str) -> Result<Vec<Self>, ParseError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let options = options! {
            strict_booleans: true,
            budget: budget! {
                max_documents: limits::DOCUMENTS,
                max_nodes: limits::VALUES,
                max_depth: limits::DEPTH,
                // Of the parser: the begin and the end of each list, map and document count too.
                max_events: limits::VALUES * 3,
            },
        };
        let roots = serde_yaml::from_multiple_with_options::<Option<YamlNode>>(text, options)?;
        let documents: Vec<_> = roots.into_iter().flatten().map(|root| Self { root }).collect();
        documents.iter().try_for_each(|document| document.root.check(text))?;
        Ok(documents)
    }

    /// Parses every document on its own, for a text that [`Self::parse`] has refused with `error`. Returns those that can
    /// be parsed, and at least one error: a text whose every document is well-formed can still have too many of them.
    pub(super) fn parse_each(text: &str, error: ParseError) -> (Vec<Self>, Vec<ParseError>) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let pieces = pieces(text);
        let (mut documents, mut errors) = (Vec::new(), Vec::new());
        // Every piece is read behind the lines before it.
        if pieces.len().saturating_mul(text.len()) > limits::SEPARATE_BYTES {
            return (documents, vec![error]);
        }
        for (line, piece) in pieces {
            let at_its_line = Zeroizing::new(format!("{}{piece}", "\n".repeat(line)));
            match Self::parse(&at_its_line) {
                Ok(found) => documents.extend(found),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            errors.push(error);
        }
        (documents, errors)
    }

    /// The line on which the document begins.
    pub fn line(&self) -> u64 {
        self.root.line
    }

    /// The lines of all nodes.
    pub(super) fn lines(&self) -> Lines {
        let mut lines = Vec::new();
        self.root.lines(PointerHash::ROOT, &mut lines);
        Lines::new(self.line(), lines)
    }

    /// The line of the node at a JSON Pointer, or of its deepest existing ancestor.
    pub fn line_of(&self, pointer: &str) -> u64 {
        let mut node = &self.root;
        let mut line = node.line;
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let found = match &node.tree {
                Tree::Map(entries) => {
                    entries.iter().find(|entry| entry.key == part).map(|entry| (entry.line, &entry.value))
                }
                Tree::List(items) => {
                    part.parse::<usize>().ok().and_then(|number| items.get(number)).map(|node| (node.line, node))
                }
                Tree::Scalar(_) => None,
            };
            let Some((found_line, found)) = found else { break };
            line = found_line;
            node = found;
        }
        line
    }

    /// A digest that differs for documents with different values.
    pub(super) fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        self.root.hash(&mut hasher);
        hasher.finalize().into()
    }

    /// The document as JSON.
    pub fn value(&self) -> Wiped {
        Wiped(self.root.value())
    }

    /// The objects of the document: the items of a `List`, otherwise the document itself.
    pub fn into_objects(self) -> Vec<Self> {
        let Tree::Map(entries) = &self.root.tree else { return vec![self] };
        let is_list =
            entries.iter().any(|entry| entry.key == "kind" && entry.value.tree == Tree::from(Value::from("List")));
        if !is_list {
            return vec![self];
        }
        let items = entries.iter().find(|entry| entry.key == "items");
        match items.map(|entry| &entry.value.tree) {
            Some(Tree::List(items)) => items.iter().map(|root| Self { root: root.clone() }).collect(),
            _ => vec![self],
        }
    }
}

/// The documents of a text, each with the number of lines before it. A line that begins with `---` begins a document,
/// wherever it is (YAML 1.2.2, 9.1.2).
fn pieces(text: &str) -> Vec<(usize, &str)> {
    let mut pieces = Vec::new();
    let (mut begin, mut begin_line, mut at) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let rest = line.strip_prefix("---");
        if at > begin && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            pieces.extend(text.get(begin..at).map(|piece| (begin_line, piece)));
            (begin, begin_line) = (at, number);
        }
        at += line.len();
    }
    pieces.extend(text.get(begin..).map(|piece| (begin_line, piece)));
    pieces
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_node_knows_its_line() {
        let text = "# a comment\na: 1\nb:\n  - x\n  - c: true\n    d: [1, 2.5, null]\n---\n{\"json\": \"too\"}\n";
        let documents = Document::parse(text).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].value().0, json!({ "a": 1, "b": ["x", { "c": true, "d": [1, 2.5, null] }] }));
        assert_eq!(documents[0].line_of("/a"), 2);
        assert_eq!(documents[0].line_of("/b/1/c"), 5);
        assert_eq!(documents[0].line_of("/b/1/d/0"), 6);
        assert_eq!(documents[0].line_of("/b/1/absent/deeper"), 5, "the deepest node that exists");
        assert_eq!(documents[1].value().0, json!({ "json": "too" }));
        assert_eq!(documents[1].line(), 8);
    }

    /// What a file of the maximum size usually has is read; more is refused in words.
    #[test]
    fn files_have_bounds() {
        let documents = |count: usize| "a: 1\n---\n".repeat(count - 1) + "a: 1\n";
        assert_eq!(Document::parse(&documents(limits::DOCUMENTS)).unwrap().len(), limits::DOCUMENTS);
        let refused = |text: &str| Document::parse(text).unwrap_err().message;
        let more = refused(&documents(limits::DOCUMENTS + 1));
        assert_eq!(more, format!("a file has at most {} documents: use several files", limits::DOCUMENTS));
        let values = |count: usize| format!("[{}]", "1,".repeat(count));
        assert!(Document::parse(&values(limits::VALUES - 1)).is_ok());
        let more = refused(&values(limits::VALUES));
        assert_eq!(more, format!("a file has at most {} values: use several files", limits::VALUES));
        // Without optimisation, the parser needs more than the stack of a test.
        let deep = std::thread::Builder::new().stack_size(16 << 20).spawn(|| {
            let nested = |depth: usize| Document::parse(&("[".repeat(depth) + &"]".repeat(depth)));
            (nested(limits::DEPTH).is_ok(), nested(limits::DEPTH + 1).unwrap_err().message)
        });
        let deeper = format!("lists and maps are nested at most {} deep", limits::DEPTH);
        assert_eq!(deep.unwrap().join().unwrap(), (true, deeper));
        let aliases = format!("a: &a [1]\nb: [{}]", "*a,".repeat(1000));
        assert_eq!(refused(&aliases), "its aliases or merge keys stand for too much: write the values out");
    }

    #[test]
    fn lines_are_known_without_the_document() {
        let text = "a: 1\nb:\n  - x\n  - c/d~e: true\n    f: [1, 2]\n";
        let document = Document::parse(text).unwrap().remove(0);
        let lines = document.lines();
        assert_eq!(lines.first(), 1);
        let (deep, absent) = ("/b/1/c~1d~0e", ["/b/1/absent/deeper", "/b/7", "/absent", "", "/a/x"]);
        for pointer in ["/a", "/b", "/b/0", "/b/1", deep, "/b/1/f", "/b/1/f/1"].into_iter().chain(absent) {
            assert_eq!(lines.line_of(pointer), document.line_of(pointer), "{pointer}");
        }
        assert_eq!(lines.line_of(deep), 4);
    }

    #[test]
    fn digests_tell_values_and_nothing_else_apart() {
        let digest = |text| Document::parse(text).unwrap().remove(0).digest();
        assert_eq!(digest("a: [1, x]"), digest("# why\na:\n  - 1\n  - \"x\"\n"));
        for other in ["a: [1, z]", "a: [1x]", "a: ['1', x]", "a: {1: x}", "b: [1, x]", "a: [1, x]\nb: 1", "a: [[1, x]]"]
        {
            assert_ne!(digest("a: [1, x]"), digest(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        let error = Document::parse("a: 1\nb: [1,\nc: }\n").unwrap_err();
        assert!(error.line >= 2, "{error:?}");
        let twice = Document::parse("a: 1\na: 2\n").unwrap_err();
        assert!(twice.message.contains("duplicate"), "{twice:?}");
        assert_eq!(twice.line, 2);
    }

    #[test]
    fn documents_are_parsed_apart_and_keep_their_lines() {
        let text =
            "\u{feff}a: 1\n---\nb: !x y\n--- # why\nc: |\n  ---\n  d\n---\ne: [\n---\n---x: 1\nf:\n  g: 1\n---\n";
        let (documents, errors) = Document::parse_each(text, Document::parse(text).unwrap_err());
        assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>()[0], 3);
        assert_eq!(errors.len(), 2, "{errors:?}");
        let values: Vec<_> = documents.iter().map(|document| document.value().0.clone()).collect();
        assert_eq!(values, [json!({ "a": 1 }), json!({ "c": "---\nd\n" }), json!({ "---x": 1, "f": { "g": 1 } })]);
        assert_eq!((documents[1].line_of("/c"), documents[2].line_of("/f/g")), (5, 13));
    }

    /// Otherwise the file would count as whole, and no later version of it as readable.
    #[test]
    fn what_is_wrong_with_the_whole_text_stays_an_error() {
        let text = format!("a: [{}]\n---\n", "1,".repeat(limits::VALUES / 2)).repeat(3);
        let error = Document::parse(&text).unwrap_err();
        let (documents, errors) = Document::parse_each(&text, error.clone());
        assert_eq!((documents.len(), errors), (3, vec![error]));
    }

    #[test]
    fn tags_are_refused_with_their_line() {
        for tagged in
            ["!payload.deleted", "!x y", "!!binary aGk=", "!!null x", "!!int \"1\"", "!str 1", "! 1", "!x {b: 1}"]
        {
            let error = Document::parse(&format!("a: 1\nb:\n  c: {tagged}\n")).unwrap_err();
            assert!(error.line == 3 && error.message.contains("quotes"), "{tagged}: {error:?}");
        }
        for text in ["- !x y", "!x k: v", "!x\nk: v", "a: &b !x c\nd: *b", "a: &b {c: !x d}\ne: {<<: *b}"] {
            assert!(Document::parse(text).unwrap_err().message.contains("tag"), "{text}");
        }
        let allowed = "a: !!str 0644\nb: !!str yes\nc: '!payload.deleted'\nd: \"!x\"\ne: |\n  !x\nf: a != b\ng: x !y\n";
        let document = Document::parse(allowed).unwrap().remove(0);
        let values = json!({
            "a": "0644", "b": "yes", "c": "!payload.deleted", "d": "!x", "e": "!x\n", "f": "a != b", "g": "x !y",
        });
        assert_eq!(document.value().0, values);
    }

    #[test]
    fn what_other_readers_understand_otherwise_is_refused_with_its_line() {
        for text in [
            "a: 1\nb: yes",
            "a: ä\nb: 0644",
            "\u{feff}a: ä\non: 1",
            "a: 1\nb: [no]",
            "a: 1\n1: x\n\"1\": y",
            "a: 1\nb: off # x",
        ] {
            let error = Document::parse(text).unwrap_err();
            assert!((2..=3).contains(&error.line), "{text}: {error:?}");
        }
        let quoted =
            "\u{feff}a: ä\n\"on\": 'yes'\nc: \"0644\"\nd: |\n  yes\ne: >-\n  no\nf: not yes\ng: >-\n\n  0644\n";
        let document = Document::parse(quoted).unwrap().remove(0);
        let values = json!({
            "a": "ä", "on": "yes", "c": "0644", "d": "yes\n", "e": "no", "f": "not yes", "g": "\n0644",
        });
        assert_eq!(document.value().0, values);
        assert!(Document::parse("{\"y\": \"no\", \"x\": [\"off\"]}").is_ok(), "JSON");
    }

    #[test]
    fn messages_are_for_people_and_do_not_quote_values() {
        let message = |text| Document::parse(text).unwrap_err().message;
        assert_eq!(message("a: 1\na: 2"), "duplicate mapping key `a` is not allowed here");
        assert_eq!(message("y: *x"), "reference to unknown value");
        assert!(!message("password: !hunter2").contains("hunter2"));
        assert!(!message("password: 0123456").contains("0123456"));
    }

    #[test]
    fn aliases_and_merge_keys_are_expanded() {
        let text = "u: &u {a: 1, b: 2}\nv: *u\nw: {<<: *u, a: 3}\n";
        let document = Document::parse(text).unwrap().remove(0);
        let expanded = json!({ "u": { "a": 1, "b": 2 }, "v": { "a": 1, "b": 2 }, "w": { "a": 3, "b": 2 } });
        assert_eq!(document.value().0, expanded);
    }

    #[test]
    fn bombs_and_depth_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let alias = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", alias.trim_end_matches(", ")));
        }
        assert!(Document::parse(&bomb).is_err());
        assert!(Document::parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn a_list_is_its_items() {
        let text = "kind: List\napiVersion: v1\nitems:\n- kind: Secret\n- kind: ConfigMap\n";
        let documents = Document::parse(text).unwrap();
        let objects: Vec<_> = documents.into_iter().flat_map(Document::into_objects).collect();
        assert_eq!(objects.iter().map(Document::line).collect::<Vec<_>>(), [4, 5]);
    }
}
