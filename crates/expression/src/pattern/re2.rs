//! Translates RE2 syntax (<https://github.com/google/re2/wiki/Syntax>) into that of the regex crate, which differs: its
//! Perl classes and word boundaries are those of Unicode, its classes nest and have operators, it accepts stacked
//! repetitions and flags that RE2 does not have, and it refuses a `{` that repeats nothing.

#[cfg(test)]
mod tests;

use std::{iter::Peekable, str::CharIndices};

/// Most repetitions that RE2 allows.
const MAX_REPEAT: u32 = 1000;

const POSIX: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// The same pattern for the regex crate, or what is wrong with it.
pub(super) fn translate(source: &str) -> Result<String, String> {
    let mut translator = Translator {
        source,
        rest: source.char_indices().peekable(),
        made: String::with_capacity(source.len() + source.len() / 2),
        groups: Vec::new(),
        last: Last::Nothing,
    };
    translator.pattern()?;
    Ok(translator.made)
}

/// What a repetition would repeat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Atom,
    Repetition,
}

struct Translator<'s> {
    source: &'s str,
    rest: Peekable<CharIndices<'s>>,
    made: String,
    /// Where the open groups begin.
    groups: Vec<usize>,
    last: Last,
}

/// A part of a bracketed class.
enum Item {
    Character(char),
    /// A class of its own, as it is written in brackets.
    Class(String),
}

impl<'s> Translator<'s> {
    /// The byte of the source that comes next.
    fn at(&mut self) -> usize {
        self.rest.peek().map_or(self.source.len(), |(at, _)| *at)
    }

    fn text(&mut self) -> &'s str {
        let at = self.at();
        self.source.get(at..).unwrap_or_default()
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|(_, next)| *next)
    }

    fn bump(&mut self) -> Option<char> {
        self.rest.next().map(|(_, next)| next)
    }

    fn skip(&mut self, bytes: usize) {
        let end = self.at() + bytes;
        while self.at() < end && self.bump().is_some() {}
    }

    /// An error at a byte of the pattern.
    fn wrong<T>(&self, at: usize, message: &str) -> Result<T, String> {
        let character = 1 + self.source.get(..at).unwrap_or_default().chars().count();
        Err(format!("{message}, at character {character} of the pattern"))
    }

    fn pattern(&mut self) -> Result<(), String> {
        loop {
            let at = self.at();
            let Some(next) = self.bump() else { break };
            match next {
                '(' => self.group(at)?,
                ')' => {
                    if self.groups.pop().is_none() {
                        return self.wrong(at, "`)` closes no group");
                    }
                    self.made.push(')');
                    self.last = Last::Atom;
                }
                '|' => {
                    self.made.push('|');
                    self.last = Last::Nothing;
                }
                '[' => self.class(at)?,
                '*' | '+' | '?' => self.repetition(at, &next.to_string())?,
                '{' => self.counted(at)?,
                '\\' => self.escape(at)?,
                '.' | '^' | '$' => {
                    self.made.push(next);
                    self.last = Last::Atom;
                }
                literal => self.literal(literal),
            }
        }
        match self.groups.last() {
            Some(at) => self.wrong(*at, "the group is not closed by `)`"),
            None => Ok(()),
        }
    }

    fn literal(&mut self, literal: char) {
        push_literal(&mut self.made, literal);
        self.last = Last::Atom;
    }

    /// `(`, `(?:`, `(?P<name>`, `(?flags)` or `(?flags:`.
    fn group(&mut self, at: usize) -> Result<(), String> {
        self.last = Last::Nothing;
        if self.peek() != Some('?') {
            self.groups.push(at);
            self.made.push('(');
            return Ok(());
        }
        let text = self.text();
        if ["?=", "?!", "?<=", "?<!"].iter().any(|prefix| text.starts_with(prefix)) {
            return self.wrong(at, "look-around is not supported");
        }
        if let Some(prefix) = ["?P<", "?<"].iter().find(|prefix| text.starts_with(**prefix)) {
            let name = text.get(prefix.len()..).and_then(|rest| rest.split_once('>')).map(|(name, _)| name);
            let valid =
                |name: &&str| !name.is_empty() && name.chars().all(|next| next == '_' || next.is_alphanumeric());
            let Some(name) = name.filter(valid) else {
                return self.wrong(at, "the name of the group is not valid");
            };
            self.skip(prefix.len() + name.len() + 1);
            self.groups.push(at);
            // Names do not matter, for nothing reads the groups.
            self.made.push('(');
            return Ok(());
        }
        let Some(end) = text.find([':', ')']) else {
            return self.wrong(at, "the group is not closed by `)`");
        };
        let flags = text.get(1..end).unwrap_or_default();
        let close = text.get(end..=end).unwrap_or_default();
        let (set, unset) = flags.split_once('-').map_or((flags, None), |(set, unset)| (set, Some(unset)));
        let known = |flags: &str| flags.chars().all(|flag| matches!(flag, 'i' | 'm' | 's' | 'U'));
        let complete = unset.map_or(!set.is_empty() || close == ":", |unset| !unset.is_empty());
        if !known(set) || !known(unset.unwrap_or_default()) || !complete {
            return self.wrong(at, "after `(?` come `:`, a name `P<name>`, or the flags i, m, s and U");
        }
        self.skip(end + 1);
        // A flag that is set twice is an error in one syntax and none in the other.
        let mut once = String::new();
        for flag in ['i', 'm', 's', 'U'] {
            if set.contains(flag) && !unset.is_some_and(|unset| unset.contains(flag)) {
                once.push(flag);
            }
        }
        let cleared: String =
            ['i', 'm', 's', 'U'].into_iter().filter(|flag| unset.is_some_and(|unset| unset.contains(*flag))).collect();
        if !cleared.is_empty() {
            once.push('-');
            once.push_str(&cleared);
        }
        self.made.push_str("(?");
        self.made.push_str(&once);
        self.made.push_str(close);
        if close == ":" {
            self.groups.push(at);
        }
        Ok(())
    }

    /// `*`, `+`, `?` or `{2,3}`, and a `?` behind it that makes it lazy.
    fn repetition(&mut self, at: usize, operator: &str) -> Result<(), String> {
        match self.last {
            Last::Nothing => return self.wrong(at, &format!("`{operator}` repeats nothing")),
            Last::Repetition => return self.wrong(at, &format!("`{operator}` repeats a repetition")),
            Last::Atom => {}
        }
        self.made.push_str(operator);
        if self.peek() == Some('?') {
            self.bump();
            self.made.push('?');
        }
        self.last = Last::Repetition;
        Ok(())
    }

    /// `{2}`, `{2,}` or `{2,3}`; any other `{` is a character like others.
    fn counted(&mut self, at: usize) -> Result<(), String> {
        let text = self.text();
        let Some((inside, _)) = text.split_once('}') else {
            self.literal('{');
            return Ok(());
        };
        let (least, most) = inside.split_once(',').map_or((inside, None), |(least, most)| (least, Some(most)));
        let number = |text: &str| !text.is_empty() && text.bytes().all(|next| next.is_ascii_digit());
        if !number(least) || !most.is_none_or(|most| most.is_empty() || number(most)) {
            self.literal('{');
            return Ok(());
        }
        let count = |text: &str| text.parse::<u32>().ok().filter(|count| *count <= MAX_REPEAT);
        let least = count(least);
        let most = most.filter(|most| !most.is_empty()).map_or(Some(None), |most| count(most).map(Some));
        let (Some(least), Some(most)) = (least, most) else {
            return self.wrong(at, &format!("`{{{inside}}}` repeats more than the {MAX_REPEAT} times allowed"));
        };
        if most.is_some_and(|most| most < least) {
            return self.wrong(at, &format!("the numbers in `{{{inside}}}` are in the wrong order"));
        }
        self.skip(inside.len() + 1);
        self.repetition(at, &format!("{{{inside}}}"))
    }

    /// What is behind a backslash outside of a class.
    fn escape(&mut self, at: usize) -> Result<(), String> {
        let text = self.text();
        if let Some(quoted) = text.strip_prefix('Q') {
            let (literal, length) =
                quoted.split_once(r"\E").map_or((quoted, quoted.len()), |(it, _)| (it, it.len() + 2));
            self.skip(1 + length);
            for literal in literal.chars() {
                self.literal(literal);
            }
            return Ok(());
        }
        let made = match self.peek() {
            Some('A') => r"\A",
            Some('z') => r"\z",
            Some('b') => r"(?-u:\b)",
            Some('B') => r"(?-u:\B)",
            Some('C') => return self.wrong(at, r"`\C` (any byte) is not supported"),
            Some('1'..='9') if !text.chars().nth(1).is_some_and(|next| matches!(next, '0'..='7')) => {
                return self.wrong(at, "back-references are not supported");
            }
            _ => {
                match self.escaped(at)? {
                    Item::Character(literal) => self.literal(literal),
                    Item::Class(class) => {
                        self.made.push_str(&class);
                        self.last = Last::Atom;
                    }
                }
                return Ok(());
            }
        };
        self.bump();
        self.made.push_str(made);
        self.last = Last::Atom;
        Ok(())
    }

    /// A character or a class behind a backslash, which may stand in a class too.
    fn escaped(&mut self, at: usize) -> Result<Item, String> {
        let Some(next) = self.bump() else { return self.wrong(at, "the pattern ends after a backslash") };
        let class = |text: &str| Ok(Item::Class(text.into()));
        match next {
            'd' => class("[0-9]"),
            'D' => class("[^0-9]"),
            'w' => class("[0-9A-Za-z_]"),
            'W' => class("[^0-9A-Za-z_]"),
            's' => class(r"[\t\n\x0C\r ]"),
            'S' => class(r"[^\t\n\x0C\r ]"),
            'p' | 'P' => self.unicode_class(at, next == 'P').map(Item::Class),
            'a' => Ok(Item::Character('\u{7}')),
            'f' => Ok(Item::Character('\u{c}')),
            't' => Ok(Item::Character('\t')),
            'n' => Ok(Item::Character('\n')),
            'r' => Ok(Item::Character('\r')),
            'v' => Ok(Item::Character('\u{b}')),
            'x' => self.hexadecimal(at),
            '0'..='7' => {
                let mut code = next.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|next| next.to_digit(8)) else { break };
                    self.bump();
                    code = 8 * code + digit;
                }
                self.character(at, code)
            }
            next if next.is_ascii() && !next.is_ascii_alphanumeric() => Ok(Item::Character(next)),
            next => self.wrong(at, &format!(r"the escape `\{}` is not known", next.escape_debug())),
        }
    }

    /// `\x7F` or `\x{10FFFF}`.
    fn hexadecimal(&mut self, at: usize) -> Result<Item, String> {
        let text = self.text();
        let (digits, length) = match text.strip_prefix('{') {
            Some(inside) => inside.split_once('}').map_or(("", 0), |(digits, _)| (digits, digits.len() + 2)),
            None => (text.get(..2).unwrap_or_default(), 2),
        };
        let valid = !digits.is_empty() && digits.bytes().all(|next| next.is_ascii_hexdigit());
        let code = if valid { u32::from_str_radix(digits, 16).ok() } else { None };
        let Some(code) = code else {
            return self.wrong(at, r"hexadecimal escapes are `\x7F` or `\x{10FFFF}`");
        };
        self.skip(length);
        self.character(at, code)
    }

    fn character(&self, at: usize, code: u32) -> Result<Item, String> {
        match char::from_u32(code) {
            Some(found) => Ok(Item::Character(found)),
            None => self.wrong(at, "the escape is not a character of Unicode"),
        }
    }

    /// `\pN`, `\p{Greek}` or `\p{^Greek}`, of which the `p` is read.
    fn unicode_class(&mut self, at: usize, negated: bool) -> Result<String, String> {
        let text = self.text();
        let (name, length) = match text.strip_prefix('{') {
            Some(inside) => inside.split_once('}').map_or(("", 0), |(name, _)| (name, name.len() + 2)),
            None => {
                let length = text.chars().next().map_or(0, char::len_utf8);
                (text.get(..length).unwrap_or_default(), length)
            }
        };
        let (name, inverted) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        if name.is_empty() || !name.chars().all(|next| next == '_' || next.is_ascii_alphabetic()) {
            return self.wrong(at, r"classes of Unicode are written `\pL` or `\p{Greek}`");
        }
        self.skip(length);
        let letter = if negated == inverted { 'p' } else { 'P' };
        let class = format!(r"\{letter}{{{name}}}");
        if regex_syntax::parse(&class).is_err() {
            return self.wrong(at, &format!("Unicode has no class `{name}`"));
        }
        Ok(class)
    }

    /// A class in brackets. In RE2 it holds characters, ranges and named classes, and nothing else.
    fn class(&mut self, at: usize) -> Result<(), String> {
        self.made.push('[');
        if self.peek() == Some('^') {
            self.bump();
            self.made.push('^');
        }
        let mut first = true;
        loop {
            match self.peek() {
                None => return self.wrong(at, "the class is not closed by `]`"),
                Some(']') if !first => {
                    self.bump();
                    break;
                }
                Some(_) => {}
            }
            first = false;
            let item_at = self.at();
            let low = match self.posix(item_at)? {
                Some(class) => Item::Class(class),
                None => self.class_item(item_at)?,
            };
            let text = self.text();
            let range = text.starts_with('-') && text.len() > 1 && !text.starts_with("-]");
            match low {
                Item::Class(class) => self.made.push_str(&class),
                Item::Character(low) if range => {
                    self.bump();
                    let high_at = self.at();
                    match self.class_item(high_at)? {
                        Item::Character(high) if low <= high => {
                            push_literal(&mut self.made, low);
                            self.made.push('-');
                            push_literal(&mut self.made, high);
                        }
                        Item::Character(_) => return self.wrong(item_at, "the range is in the wrong order"),
                        Item::Class(_) => {
                            return self.wrong(high_at, "a range ends with a character, not with a class");
                        }
                    }
                }
                Item::Character(low) => push_literal(&mut self.made, low),
            }
        }
        self.made.push(']');
        self.last = Last::Atom;
        Ok(())
    }

    /// `[:alpha:]` or `[:^alpha:]` in a class.
    fn posix(&mut self, at: usize) -> Result<Option<String>, String> {
        let text = self.text();
        let Some((name, _)) = text.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else { return Ok(None) };
        if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return self.wrong(at, &format!("there is no class `[:{name}:]`"));
        }
        self.skip(name.len() + 4);
        Ok(Some(format!("[:{name}:]")))
    }

    fn class_item(&mut self, at: usize) -> Result<Item, String> {
        match self.bump() {
            None => self.wrong(at, "the class is not closed by `]`"),
            Some('\\') => self.escaped(at),
            Some(literal) => Ok(Item::Character(literal)),
        }
    }
}

/// A character as it is, also in a class: what could be an operator there is escaped too.
fn push_literal(made: &mut String, literal: char) {
    if regex_syntax::is_meta_character(literal) {
        made.push('\\');
    }
    made.push(literal);
}
