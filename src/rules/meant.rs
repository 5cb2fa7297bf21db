//! Which of the known names was meant by one that is not known.

use super::limits::MEANT_CHARS;

/// Fewest characters by which a name counts as a part of another.
const PART: usize = 3;

/// The name that was most likely meant: the same but for case and punctuation, then that which takes the fewest changes
/// of single characters (at most one in three), then one that holds the other. `None` when none is near, or when the name
/// has more than [`MEANT_CHARS`] characters.
pub fn meant<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = plain(name);
    if wanted.is_empty() || wanted.len() > MEANT_CHARS {
        return None;
    }
    let known: Vec<_> = known.map(|known| (known, plain(known))).filter(|(_, plain)| !plain.is_empty()).collect();
    let changed = known
        .iter()
        .map(|(known, plain)| (changes(&wanted, plain), *known))
        .filter(|(changes, _)| *changes <= wanted.len() / 3)
        .min_by_key(|(changes, _)| *changes);
    let holds =
        |whole: &[char], part: &[char]| part.len() >= PART && whole.windows(part.len()).any(|window| window == part);
    let held =
        || known.iter().find(|(_, plain)| holds(plain, &wanted) || holds(&wanted, plain)).map(|(known, _)| *known);
    changed.map(|(_, known)| known).or_else(held)
}

/// Letters and digits in lower case.
fn plain(name: &str) -> Vec<char> {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// How many characters have to be added, left out or replaced to make one of the other (Levenshtein).
fn changes(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, a) in one.iter().enumerate() {
        let mut left = line.saturating_add(1);
        let mut corner = line;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (above, b) in row.iter().skip(1).zip(other) {
            let replaced = corner.saturating_add(usize::from(a != b));
            left = replaced.min(above.saturating_add(1)).min(left.saturating_add(1));
            corner = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
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
            assert_eq!(meant(name, KNOWN.into_iter()), Some(expected), "{name}");
        }
    }

    #[test]
    fn nothing_near() {
        let long = "github".repeat(100);
        for name in ["", "-", "Twitter", "xy", "hook-deck-ish", "st", "日本", &long] {
            assert_eq!(meant(name, KNOWN.into_iter()), None, "{name}");
        }
        assert_eq!(meant("github", [""].into_iter()), None);
    }

    #[test]
    fn changes_are_counted() {
        let count = |one, other| changes(&plain(one), &plain(other));
        for (one, other, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("abc", "abd", 1), ("ab", "ba", 2)]
        {
            assert_eq!(count(one, other), expected, "{one} {other}");
        }
    }
}
