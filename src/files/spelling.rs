//! Spellings of YAML that readers understand differently.
//!
//! kubectl reads YAML 1.1, this reader YAML 1.2: `yes` is a boolean for one and text for the other, `0644` is octal for
//! one and decimal for the other. Tags are dropped, and with them what was written (`!payload.deleted` is an empty
//! value with a tag). A manifest with such a spelling does not configure what its author means, at least in one of the
//! two modes, so it is an error. Messages do not quote numbers, which may be passwords.

use std::borrow::Cow;

use serde_yaml::Span;

/// Where and how a key or value is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spelling {
    /// Range in the text, in bytes.
    start: u32,
    bytes: u32,
    tag: Tag,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Tag {
    None,
    /// `!!str`, which every reader knows.
    Text,
    Other,
}

impl Spelling {
    /// The spelling of what is written at `span` with this resolved tag.
    pub(super) fn new(span: Span, tag: Option<&str>) -> Self {
        let short = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok()).unwrap_or(u32::MAX);
        let tag = match tag {
            None => Tag::None,
            Some("tag:yaml.org,2002:str") => Tag::Text,
            Some(_) => Tag::Other,
        };
        Self { start: short(span.byte_offset()), bytes: short(span.byte_len()), tag }
    }

    /// Checks the spelling.
    ///
    /// # Errors
    /// Returns what is wrong and what to write instead.
    pub(super) fn check(&self, text: &str) -> Result<(), Cow<'static, str>> {
        match self.tag {
            Tag::Text => return Ok(()),
            Tag::Other => {
                return Err(
                    "a `!` at the beginning of a value is a YAML tag, and tags are not supported; put the value in quotes, or remove the tag".into(),
                );
            }
            Tag::None => {}
        }
        let start = usize::try_from(self.start).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(self.bytes).unwrap_or(usize::MAX));
        match text.get(start..end).map(|plain| check_plain(plain.trim_end())) {
            Some(Err(message)) if !is_block(text, start) => Err(message),
            _ => Ok(()),
        }
    }
}

/// Whether the scalar that starts here is a block scalar (`|`, `>`), which is text for every reader.
fn is_block(text: &str, start: usize) -> bool {
    let mut before = text.get(..start).unwrap_or_default().rsplit('\n');
    if before.next().is_some_and(|indent| !indent.trim().is_empty()) {
        return false;
    }
    let header = before.find(|line| !line.trim().is_empty()).unwrap_or_default();
    let header = header.split_once(" #").map_or(header, |(header, _)| header);
    let indicator = header.split_whitespace().next_back().unwrap_or_default();
    let modifiers = indicator.strip_prefix(['|', '>']);
    modifiers
        .is_some_and(|modifiers| modifiers.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-')))
}

/// Checks an unquoted scalar; quoted and other ones pass.
fn check_plain(text: &str) -> Result<(), Cow<'static, str>> {
    let word = ["y", "n", "yes", "no", "on", "off"];
    if text.len() <= 3 && word.iter().any(|word| is_in_case(text, word)) {
        return Err(format!(
            "`{text}` without quotes is a boolean for kubectl (YAML 1.1) and text for others; put it in quotes, or write true or false if a boolean is meant"
        )
        .into());
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    if digits.len() > 1 && digits.starts_with('0') && is_number {
        return Err(
            "a number that begins with 0 is octal for kubectl (YAML 1.1) and decimal for others; remove the 0, or put the value in quotes".into(),
        );
    }
    Ok(())
}

/// Whether the text is the word in lower case, in upper case, or with a capital.
fn is_in_case(text: &str, word: &str) -> bool {
    let rest = text.get(1..).unwrap_or_default();
    let capital = text.starts_with(|c: char| c.is_ascii_uppercase());
    text.eq_ignore_ascii_case(word)
        && (rest == rest.to_ascii_lowercase() || (capital && rest == rest.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_scalars_are_recognized_by_their_header() {
        let is = |text: &str| is_block(text, text.find("yes").unwrap());
        for text in ["a: |\n  yes", "a: >-\n\n  yes", "- |2+ # why\n  yes", "? >\n  yes"] {
            assert!(is(text), "{text}");
        }
        for text in ["yes", "a: yes", "a:\n  yes", "a: 1 # |\nyes: 1", "|x\n yes", "a: | yes"] {
            assert!(!is(text), "{text}");
        }
    }

    #[test]
    fn words_and_numbers_that_readers_understand_differently_are_refused() {
        for word in ["yes", "Yes", "YES", "no", "on", "Off", "OFF", "y", "N"] {
            assert!(check_plain(word).unwrap_err().contains("boolean"), "{word}");
        }
        for number in ["0644", "-07", "+010", "0_7", "00", "08"] {
            assert!(check_plain(number).unwrap_err().contains("octal"), "{number}");
        }
        let same =
            ["true", "yEs", "nope", "onto", "'yes'", "\"no\"", "0", "-0", "10", "0.5", "00.5", "0x1F", "0o17", "1:20"];
        for text in same.into_iter().chain(["", "~", "2020-01-01", "1_000", "|", "*y", "é", "+", "-"]) {
            assert_eq!(check_plain(text), Ok(()), "{text}");
        }
    }
}
