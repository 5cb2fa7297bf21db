//! Writes what the provider table says of events into docs/providers.md: `just generate` keeps it up to date.

use grapnel_signature::{Bodies, PROVIDERS, Provider, RequestField, Retries};

/// The lines around the generated part.
pub const MARKERS: [&str; 2] = ["<!-- generated from the provider table -->\n", "<!-- end of the generated part -->\n"];

fn main() -> anyhow::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/providers.md");
    let text = std::fs::read_to_string(path)?;
    let written = written(&text).ok_or_else(|| anyhow::anyhow!("{path} lacks the lines {MARKERS:?}"))?;
    std::fs::write(path, written)?;
    Ok(())
}

/// Returns the document with the current table; `None` when it lacks the lines around it.
pub fn written(text: &str) -> Option<String> {
    let [begin, end] = MARKERS;
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some([before, begin, &table(), end, after].concat())
}

fn table() -> String {
    let head = "| `provider.name` | type | id | largest payload | `limits.bodyBytes` | sent again | form field |\n|---|---|---|---|---|---|---|\n";
    PROVIDERS.iter().map(row).fold(head.to_owned(), |table, row| table + &row)
}

fn row(provider: &Provider) -> String {
    let largest = provider.largest_payload.unwrap_or("no source found");
    let limit = provider.body_bytes.map_or("1 MiB".into(), |bytes| format!("{} MiB", bytes >> 20));
    let again = match provider.retries {
        Retries::Unknown => "no source found".into(),
        Retries::Never(instead) => format!("no; {instead}"),
        Retries::Automatic(how) => how.to_owned(),
    };
    let field = match provider.bodies {
        Bodies::Form(field) => format!("`{field}`"),
        Bodies::Typed | Bodies::Json => "–".into(),
    };
    let [kinds, ids] = [provider.kinds, provider.ids].map(places);
    format!(
        "| [`{}`]({}) | {kinds} | {ids} | {largest} | {limit} | {again} | {field} |\n",
        provider.name, provider.docs
    )
}

fn places(places: &[RequestField]) -> String {
    if places.is_empty() {
        return "–".into();
    }
    let names = places.iter().map(|place| match place {
        RequestField::Header(name) => format!("`{name}`"),
        RequestField::Pointer(pointer) => format!("`{pointer}`"),
    });
    names.collect::<Vec<_>>().join(", ")
}
