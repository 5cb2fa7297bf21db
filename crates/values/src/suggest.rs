//! "Did you mean" suggestions: the known name closest to an unknown one.
//!
//! ```
//! use grapnel_values::suggest::suggest;
//!
//! let providers = ["GitHub", "GitLab", "Stripe"];
//! assert_eq!(suggest("Githb", providers.into_iter()), Some("GitHub"));
//! assert_eq!(suggest("something-else", providers.into_iter()), None);
//! ```

use strsim::levenshtein;

use super::limits::MEANT_CHARS;

/// Minimum number of characters for a name to count as part of another.
const PART: usize = 3;

/// Returns the known name closest to `name`: one that differs only in case and punctuation; otherwise the one with the
/// smallest edit distance, at most a third of the name's length; otherwise one that contains the name or is contained
/// in it. Returns `None` when no name is close, or when `name` has more than [`MEANT_CHARS`] characters.
pub fn suggest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = plain(name);
    let characters = wanted.chars().count();
    if characters == 0 || characters > MEANT_CHARS {
        return None;
    }
    let known: Vec<_> = known.map(|known| (known, plain(known))).filter(|(_, plain)| !plain.is_empty()).collect();
    let edited = known
        .iter()
        .map(|(known, plain)| (levenshtein(&wanted, plain), *known))
        .filter(|(distance, _)| *distance <= characters / 3)
        .min_by_key(|(distance, _)| *distance);
    let contains = |whole: &str, part: &str| part.chars().count() >= PART && whole.contains(part);
    let contained = || {
        known.iter().find(|(_, plain)| contains(plain, &wanted) || contains(&wanted, plain)).map(|(known, _)| *known)
    };
    edited.map(|(_, known)| known).or_else(contained)
}

/// Keeps letters and digits, in lower case.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] = ["GitHub", "GitLab", "StandardWebhooks", "Stripe", "X", "Svix"];

    #[test]
    fn near_misses() {
        for (name, expected) in [
            ("github", "GitHub"),
            ("git-hub", "GitHub"),
            ("Git Lab", "GitLab"),
            ("gitbuh", "GitHub"),
            ("Githb", "GitHub"),
            ("standard_webhooks", "StandardWebhooks"),
            ("StandardWebhook", "StandardWebhooks"),
            ("standard", "StandardWebhooks"),
            ("GitLabSigned", "GitLab"),
            ("x", "X"),
            ("striped", "Stripe"),
        ] {
            assert_eq!(suggest(name, KNOWN.into_iter()), Some(expected), "{name}");
        }
    }

    #[test]
    fn nothing_near() {
        let long = "github".repeat(100);
        for name in ["", "-", "Twitter", "xy", "hook-deck-ish", "st", "日本", &long] {
            assert_eq!(suggest(name, KNOWN.into_iter()), None, "{name}");
        }
        assert_eq!(suggest("github", [""].into_iter()), None);
    }
}
