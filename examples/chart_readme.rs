//! Writes the values of the chart, with their comments, into charts/grapnel/README.md: `just generate` keeps it up to date.

/// The lines around the generated part.
pub const MARKERS: [&str; 2] = ["<!-- generated from values.yaml -->\n", "<!-- end of the generated part -->\n"];

fn main() -> anyhow::Result<()> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/grapnel");
    let path = format!("{chart}/README.md");
    let text = std::fs::read_to_string(&path)?;
    let values = std::fs::read_to_string(format!("{chart}/values.yaml"))?;
    let written = written(&text, &values).ok_or_else(|| anyhow::anyhow!("{path} lacks the lines {MARKERS:?}"))?;
    std::fs::write(path, written)?;
    Ok(())
}

/// Returns the document with the current values; `None` when it lacks the lines around them.
pub fn written(text: &str, values: &str) -> Option<String> {
    let [begin, end] = MARKERS;
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    let sections: String = sections(values).iter().map(Section::render).collect();
    Some([before, begin, &sections, "\n", end, after].concat())
}

/// A part of values.yaml, headed by a line `# -- Title --`.
#[derive(Debug, Default)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// Its values, in the order of the file.
    pub rows: Vec<Row>,
}

/// One value.
#[derive(Debug)]
pub struct Row {
    /// Its keys, separated by dots.
    pub path: String,
    /// Its default as YAML; empty for a map whose values have rows of their own.
    pub default: String,
    /// The comment above it.
    pub comment: String,
}

impl Section {
    fn render(&self) -> String {
        let head = format!("\n### {}\n\n| value | default | |\n|---|---|---|\n", self.title);
        self.rows.iter().map(Row::render).fold(head, |text, row| text + &row)
    }
}

impl Row {
    fn render(&self) -> String {
        let default = if self.default.is_empty() { String::new() } else { format!("`{}`", self.default) };
        format!("| `{}` | {default} | {} |\n", self.path, self.comment.replace('|', "\\|").replace('<', "&lt;"))
    }
}

/// Reads the values line by line: the comments, which a YAML parser drops, are the documentation.
pub fn sections(values: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut comment: Vec<&str> = Vec::new();
    // The maps around the line, with their indentation.
    let mut maps: Vec<(usize, &str)> = Vec::new();
    for line in values.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(title) = content.strip_prefix("# -- ") {
            sections.push(Section { title: title.trim_end_matches('-').trim().into(), rows: Vec::new() });
        } else if let Some(text) = content.strip_prefix('#') {
            comment.push(text.trim());
        } else if let Some((key, default)) = content.split_once(':') {
            maps.retain(|(outer, _)| *outer < indent);
            let row = row(&maps, key, default.trim(), &std::mem::take(&mut comment));
            if default.trim().is_empty() {
                maps.push((indent, key));
            }
            if let Some(section) = sections.last_mut()
                && !(row.default.is_empty() && row.comment.is_empty())
            {
                section.rows.push(row);
            }
        } else {
            comment.clear();
        }
    }
    sections.retain(|section| !section.rows.is_empty());
    sections
}

fn row(maps: &[(usize, &str)], key: &str, default: &str, comment: &[&str]) -> Row {
    let path: Vec<&str> = maps.iter().map(|(_, key)| *key).chain([key]).collect();
    Row { path: path.join("."), default: default.into(), comment: comment.join(" ") }
}
