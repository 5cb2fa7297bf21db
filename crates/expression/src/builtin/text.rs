//! Functions on strings.

use super::whole;
use crate::{
    functions::Function,
    machine::{EvalError, Machine, Result},
    value::{List, Text, Value},
};

/// `None` if there is no overload for these arguments.
pub(super) fn call<'a>(
    machine: &mut Machine<'a>,
    function: Function,
    at: usize,
    arguments: &[Value<'a>],
) -> Result<Option<Value<'a>>> {
    Ok(Some(match (function, arguments) {
        (Function::StartsWith, [Value::Text(text), Value::Text(part)]) => {
            machine.pay_bytes(part.len(), at)?;
            Value::Bool(text.starts_with(&**part))
        }
        (Function::EndsWith, [Value::Text(text), Value::Text(part)]) => {
            machine.pay_bytes(part.len(), at)?;
            Value::Bool(text.ends_with(&**part))
        }
        (Function::Contains, [Value::Text(text), Value::Text(part)]) => {
            machine.pay_bytes(text.len().saturating_add(part.len()), at)?;
            Value::Bool(text.contains(&**part))
        }
        (Function::LowerAscii, [Value::Text(text)]) => {
            machine.pay_bytes(text.len(), at)?;
            Value::text(text.to_ascii_lowercase())
        }
        (Function::UpperAscii, [Value::Text(text)]) => {
            machine.pay_bytes(text.len(), at)?;
            Value::text(text.to_ascii_uppercase())
        }
        (Function::Trim, [Value::Text(text)]) => {
            machine.pay_bytes(text.len(), at)?;
            Value::text(text.trim())
        }
        (Function::Reverse, [Value::Text(text)]) => {
            machine.pay_bytes(2 * text.len(), at)?;
            Value::text(text.chars().rev().collect::<String>())
        }
        (Function::Quote, [Value::Text(text)]) => quote(machine, at, text)?,
        (Function::CharAt, [Value::Text(text), Value::Int(index)]) => char_at(machine, at, text, *index)?,
        (Function::Replace, [Value::Text(text), Value::Text(old), Value::Text(new)]) => {
            replace(machine, at, text, old, new, -1)?
        }
        (Function::Replace, [Value::Text(text), Value::Text(old), Value::Text(new), Value::Int(limit)]) => {
            replace(machine, at, text, old, new, *limit)?
        }
        (Function::Split, [Value::Text(text), Value::Text(separator)]) => split(machine, at, text, separator, -1)?,
        (Function::Split, [Value::Text(text), Value::Text(separator), Value::Int(limit)]) => {
            split(machine, at, text, separator, *limit)?
        }
        (Function::Join, [Value::List(list)]) => join(machine, at, list, "")?,
        (Function::Join, [Value::List(list), Value::Text(separator)]) => join(machine, at, list, separator)?,
        (Function::Substring, [Value::Text(text), Value::Int(from)]) => substring(machine, at, text, *from, None)?,
        (Function::Substring, [Value::Text(text), Value::Int(from), Value::Int(to)]) => {
            substring(machine, at, text, *from, Some(*to))?
        }
        (Function::IndexOf, [Value::Text(text), Value::Text(part)]) => {
            machine.pay_bytes(text.len().saturating_add(part.len()), at)?;
            index(text, text.find(&**part))
        }
        (Function::IndexOf, [Value::Text(text), Value::Text(part), Value::Int(from)]) => {
            machine.pay_bytes(text.len().saturating_add(part.len()), at)?;
            let from = byte_of(at, text, *from)?;
            let found = text.get(from..).and_then(|rest| rest.find(&**part)).map(|place| from + place);
            index(text, found)
        }
        (Function::LastIndexOf, [Value::Text(text), Value::Text(part)]) => {
            machine.pay_bytes(text.len().saturating_add(part.len()), at)?;
            index(text, text.rfind(&**part))
        }
        (Function::LastIndexOf, [Value::Text(text), Value::Text(part), Value::Int(from)]) => {
            machine.pay_bytes(text.len().saturating_add(part.len()), at)?;
            // The last occurrence that begins at this character or before it.
            let end = byte_of(at, text, *from)?.saturating_add(part.len()).min(text.len());
            // The end may be inside of a character, and then no occurrence ends there.
            let end = (0..=end).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
            index(text, text.get(..end).and_then(|before| before.rfind(&**part)))
        }
        _ => return Ok(None),
    }))
}

fn outside(at: usize) -> EvalError {
    EvalError::new(at, "the index is out of range")
}

/// The byte at which a character begins; the number of all characters is the end.
fn byte_of(at: usize, text: &str, index: i64) -> Result<usize> {
    let index = usize::try_from(index).map_err(|_| outside(at))?;
    let mut places = text.char_indices().map(|(place, _)| place).chain([text.len()]);
    places.nth(index).ok_or_else(|| outside(at))
}

/// The index of the character at a byte; -1 for none.
fn index<'a>(text: &str, byte: Option<usize>) -> Value<'a> {
    let before = byte.and_then(|byte| text.get(..byte)).map(|before| before.chars().count());
    before.map_or(Value::Int(-1), whole)
}

fn char_at<'a>(machine: &mut Machine<'a>, at: usize, text: &str, index: i64) -> Result<Value<'a>> {
    machine.pay_bytes(text.len(), at)?;
    let place = byte_of(at, text, index)?;
    let found: String = text.get(place..).unwrap_or_default().chars().take(1).collect();
    Ok(Value::text(found))
}

/// The string as a literal of the language in double quotes.
fn quote<'a>(machine: &mut Machine<'a>, at: usize, text: &str) -> Result<Value<'a>> {
    machine.pay_bytes(2 * text.len(), at)?;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for next in text.chars() {
        let escape = match next {
            '\u{7}' => r"\a",
            '\u{8}' => r"\b",
            '\u{c}' => r"\f",
            '\n' => r"\n",
            '\r' => r"\r",
            '\t' => r"\t",
            '\u{b}' => r"\v",
            '\\' => r"\\",
            '"' => "\\\"",
            other => {
                quoted.push(other);
                continue;
            }
        };
        quoted.push_str(escape);
    }
    quoted.push('"');
    Ok(Value::text(quoted))
}

/// Replaces at most `limit` occurrences; all of them if it is negative.
fn replace<'a>(
    machine: &mut Machine<'a>,
    at: usize,
    text: &str,
    old: &str,
    new: &str,
    limit: i64,
) -> Result<Value<'a>> {
    // Charged before it is made: a short text can become a long one.
    let most = if old.is_empty() { text.len() + 1 } else { text.len() / old.len() };
    let times = usize::try_from(limit).map_or(most, |limit| limit.min(most));
    let made = times.saturating_mul(new.len());
    machine.pay_bytes(text.len().saturating_add(old.len()).saturating_add(made), at)?;
    Ok(Value::text(text.replacen(old, new, times)))
}

/// Splits into at most `limit` parts, of which the last holds the rest; into all of them if it is negative.
fn split<'a>(machine: &mut Machine<'a>, at: usize, text: &str, separator: &str, limit: i64) -> Result<Value<'a>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    machine.pay_bytes(text.len().saturating_add(separator.len()), at)?;
    let mut parts: Vec<Value<'a>> = Vec::new();
    let mut rest = Some(text).filter(|text| limit > 0 && !(text.is_empty() && separator.is_empty()));
    while let Some(text) = rest {
        machine.pay(2, at)?;
        let split = if separator.is_empty() {
            // Without a separator it is split into its characters.
            let width = text.chars().next().map_or(0, char::len_utf8);
            text.split_at_checked(width).filter(|(_, after)| !after.is_empty())
        } else {
            text.split_once(separator)
        };
        let (part, after) = match split {
            Some((part, after)) if parts.len() + 1 < limit => (part, Some(after)),
            _ => (text, None),
        };
        machine.pay_bytes(part.len(), at)?;
        parts.push(Value::text(part));
        rest = after;
    }
    Ok(Value::list(parts))
}

fn join<'a>(machine: &mut Machine<'a>, at: usize, list: &List<'a>, separator: &str) -> Result<Value<'a>> {
    let mut joined = String::new();
    for (number, element) in list.iter().enumerate() {
        let Value::Text(text) = &element else {
            let message = format!("join() takes strings; one element is {}", element.kind().a());
            return Err(EvalError::new(at, message));
        };
        machine.pay(1, at)?;
        machine.pay_bytes(text.len() + separator.len(), at)?;
        if number > 0 {
            joined.push_str(separator);
        }
        joined.push_str(text);
    }
    Ok(Value::text(joined))
}

/// Characters from one index up to another, counted from 0.
fn substring<'a>(
    machine: &mut Machine<'a>,
    at: usize,
    text: &Text<'a>,
    from: i64,
    to: Option<i64>,
) -> Result<Value<'a>> {
    machine.pay_bytes(text.len(), at)?;
    let from = byte_of(at, text, from)?;
    let to = to.map_or(Ok(text.len()), |to| byte_of(at, text, to))?;
    let part = text.get(from..to).ok_or_else(|| outside(at))?;
    Ok(Value::text(part))
}
