//! Prints every bound as Markdown: `just generate` keeps docs/limits.md up to date with it.

use grapnel::{admin, catalog, cli, controller, dispatch, files, ingress, plan, replay, runtime, telemetry};
use grapnel_values::bounds::Bound;

/// Where the constants are, what they bound, and the constants.
const PARTS: &[(&str, &str, &[Bound])] = &[
    ("src/ingress", "Requests and connections of the public server", ingress::limits::BOUNDS),
    ("src/connections", "Connections of both servers", grapnel::CONNECTION_BOUNDS),
    ("crates/signature", "Signatures", grapnel_signature::limits::BOUNDS),
    ("crates/payload", "Payloads and headers", grapnel_payload::limits::BOUNDS),
    ("crates/expression", "Expressions", grapnel_expression::limits::BOUNDS),
    ("crates/event", "Event identity and schemas", grapnel_event::limits::BOUNDS),
    ("crates/delivery", "Retries, breakers and rates", grapnel_delivery::limits::BOUNDS),
    ("crates/journal", "Journal", grapnel_journal::limits::BOUNDS),
    ("src/dispatch", "Deliveries", dispatch::limits::BOUNDS),
    ("src/replay", "Replays", replay::limits::BOUNDS),
    ("src/catalog", "Objects: defaults and limits of their fields", catalog::limits::BOUNDS),
    ("src/controller", "Controller", controller::limits::BOUNDS),
    ("src/controller/route", "HTTPRoutes", controller::route::limits::BOUNDS),
    ("src/files", "Manifests in standalone mode", files::limits::BOUNDS),
    ("src/admin", "Admin server", admin::limits::BOUNDS),
    ("src/plan", "Plans", plan::limits::BOUNDS),
    ("src/telemetry", "Metrics", telemetry::limits::BOUNDS),
    ("src/runtime", "Process: start, shutdown, keys of issuers", runtime::limits::BOUNDS),
    ("src/cli", "Commands", cli::limits::BOUNDS),
    ("crates/values", "Values", grapnel_values::limits::BOUNDS),
];

fn main() {
    println!("# Limits\n");
    println!(
        "Generated from the `limits.rs` of each part of the source. Sizes are in bytes unless the text names another unit."
    );
    for (path, title, bounds) in PARTS {
        println!("\n## {title}\n\n`{path}`\n\n| constant | value | meaning |\n|---|---|---|");
        for bound in *bounds {
            println!("| `{}` | {} | {} |", bound.name, value(bound), text(bound.text));
        }
    }
}

/// Whole numbers with separators, as a reader counts them; everything else as it is.
fn value(bound: &Bound) -> String {
    let value = format!("{:?}", bound.value);
    if value.len() < 5 || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value;
    }
    let separated = |(at, digit): (usize, char)| {
        let comma = (at > 0 && (value.len() - at).is_multiple_of(3)).then_some(',');
        comma.into_iter().chain([digit])
    };
    value.chars().enumerate().flat_map(separated).collect()
}

/// A doc comment as the cell of a table: links to items become their names.
fn text(text: &str) -> String {
    text.trim().replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}
