//! `format`: a template with verbs, as the strings extension defines it.

use std::fmt::Write;

use crate::{
    machine::{EvalError, Machine, Result},
    value::{List, Map, Seconds, Value},
};

/// Most digits behind the decimal point.
const MAX_PRECISION: usize = 100;

/// Digits that a double has at most, which are found fast.
const FAST_DIGITS: usize = 17;

/// Digits behind the decimal point by default.
const DEFAULT_PRECISION: usize = 6;

pub(super) fn format<'a>(machine: &mut Machine<'a>, at: usize, template: &str, list: &List<'a>) -> Result<Value<'a>> {
    machine.pay_bytes(2 * template.len(), at)?;
    let mut writer = Writer { machine, at, text: String::with_capacity(template.len()) };
    let mut used = 0;
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('%') {
        writer.text.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            writer.text.push('%');
            rest = after;
            continue;
        }
        let (precision, after) = precision(at, after)?;
        let mut characters = after.chars();
        let verb = characters.next().ok_or_else(|| EvalError::new(at, "the template ends after `%`"))?;
        rest = characters.as_str();
        let missing = || EvalError::new(at, "the template has more verbs than the list has elements");
        let value = list.get(used).ok_or_else(missing)?;
        used += 1;
        writer.verb(verb, precision, &value)?;
    }
    writer.text.push_str(rest);
    Ok(Value::text(writer.text))
}

/// `.3` in front of a verb.
fn precision(at: usize, text: &str) -> Result<(Option<usize>, &str)> {
    let Some(text) = text.strip_prefix('.') else { return Ok((None, text)) };
    let end = text.find(|next: char| !next.is_ascii_digit()).unwrap_or(text.len());
    let (digits, after) = text.split_at_checked(end).unwrap_or((text, ""));
    let precision = digits.parse().ok().filter(|precision| *precision <= MAX_PRECISION);
    let wrong = || EvalError::new(at, format!("a precision is a number of at most {MAX_PRECISION}, as in %.3f"));
    precision.map(|precision| (Some(precision), after)).ok_or_else(wrong)
}

struct Writer<'m, 'a> {
    machine: &'m mut Machine<'a>,
    at: usize,
    text: String,
}

impl<'a> Writer<'_, 'a> {
    fn verb(&mut self, verb: char, precision: Option<usize>, value: &Value<'a>) -> Result<()> {
        // Numbers are written first and charged then: they have some four hundred bytes at most.
        let from = self.text.len();
        let digits = precision.unwrap_or(DEFAULT_PRECISION);
        match (verb, value) {
            ('f' | 'e' | 'd', Value::Double(number)) if !number.is_finite() => self.text.push_str(special(*number)),
            ('f', Value::Double(number)) => return self.digits(&format!("{number:.digits$}"), digits),
            ('e', Value::Double(number)) => {
                return self.digits(&scientific(&format!("{number:.digits$e}")), digits);
            }
            ('d', Value::Int(number)) => self.put(format_args!("{number}")),
            ('d', Value::UInt(number)) => self.put(format_args!("{number}")),
            ('b', Value::Bool(flag)) => self.put(format_args!("{}", u8::from(*flag))),
            ('b' | 'o' | 'x' | 'X', Value::Int(number)) => {
                self.text.push_str(if *number < 0 { "-" } else { "" });
                self.radix(verb, number.unsigned_abs());
            }
            ('b' | 'o' | 'x' | 'X', Value::UInt(number)) => self.radix(verb, *number),
            ('x' | 'X', Value::Text(text)) => return self.hex(verb, text.as_bytes()),
            ('x' | 'X', Value::Bytes(bytes)) => return self.hex(verb, bytes),
            ('s', value) => return self.string(value),
            ('f' | 'e' | 'd' | 'b' | 'o' | 'x' | 'X', other) => {
                let message = format!("`%{verb}` cannot format {}", other.kind().a());
                return Err(EvalError::new(self.at, message));
            }
            _ => return Err(EvalError::new(self.at, "the verbs are %s, %d, %f, %e, %b, %o, %x, %X and %%")),
        }
        self.machine.pay_bytes(self.text.len() - from, self.at)
    }

    /// A double with so many digits behind the point, which are slow to find if there are many.
    fn digits(&mut self, text: &str, precision: usize) -> Result<()> {
        let slow = if precision > FAST_DIGITS { 4 * precision } else { 0 };
        self.machine.pay(text.len() + slow, self.at)?;
        self.text.push_str(text);
        Ok(())
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.text.write_fmt(text);
    }

    fn radix(&mut self, verb: char, number: u64) {
        match verb {
            'b' => self.put(format_args!("{number:b}")),
            'o' => self.put(format_args!("{number:o}")),
            'x' => self.put(format_args!("{number:x}")),
            _ => self.put(format_args!("{number:X}")),
        }
    }

    fn hex(&mut self, verb: char, bytes: &[u8]) -> Result<()> {
        // Two digits, each of which is formatted: more than a copy.
        self.machine.pay(bytes.len() / 2, self.at)?;
        for byte in bytes {
            if verb == 'x' {
                self.put(format_args!("{byte:02x}"));
            } else {
                self.put(format_args!("{byte:02X}"));
            }
        }
        Ok(())
    }

    /// `%s`: any value in a form for people.
    fn string(&mut self, value: &Value<'a>) -> Result<()> {
        self.machine.pay(1, self.at)?;
        let from = self.text.len();
        match value {
            Value::Null => self.text.push_str("null"),
            Value::Bool(flag) => self.put(format_args!("{flag}")),
            Value::Int(number) => self.put(format_args!("{number}")),
            Value::UInt(number) => self.put(format_args!("{number}")),
            Value::Double(number) if number.is_finite() => self.put(format_args!("{number}")),
            Value::Double(number) => self.text.push_str(special(*number)),
            Value::Timestamp(time) => self.put(format_args!("{time}")),
            Value::Duration(duration) => self.put(format_args!("{}", Seconds(*duration))),
            Value::Type(kind) => self.text.push_str(kind.type_name()),
            Value::Text(text) => {
                self.machine.pay_bytes(text.len(), self.at)?;
                self.text.push_str(text);
                return Ok(());
            }
            Value::Bytes(bytes) => {
                self.machine.pay_bytes(bytes.len(), self.at)?;
                let text = std::str::from_utf8(bytes);
                self.text.push_str(text.map_err(|_| EvalError::new(self.at, "these bytes are not UTF-8"))?);
                return Ok(());
            }
            Value::List(list) => return self.list(list),
            Value::Map(map) => return self.map(map),
            Value::Optional(_) => {
                let message = format!("`%s` cannot format {}", value.kind().a());
                return Err(EvalError::new(self.at, message));
            }
        }
        self.machine.pay_bytes(self.text.len() - from, self.at)
    }

    fn list(&mut self, list: &List<'a>) -> Result<()> {
        self.text.push('[');
        for (number, element) in list.iter().enumerate() {
            self.text.push_str(if number > 0 { ", " } else { "" });
            self.string(&element)?;
        }
        self.text.push(']');
        Ok(())
    }

    /// The entries of a map, in the order of their formatted keys.
    fn map(&mut self, map: &Map<'a>) -> Result<()> {
        let mut keys = Vec::with_capacity(map.len());
        for (key, value) in map.entries() {
            let from = self.text.len();
            self.string(&key)?;
            let key = self.text.split_off(from);
            // Sorting compares each key some times.
            self.machine.pay_bytes(key.len().saturating_mul(1 + map.len().ilog2() as usize), self.at)?;
            self.machine.pay(1 + map.len().ilog2() as usize / 4, self.at)?;
            keys.push((key, value));
        }
        keys.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.text.push('{');
        for (number, (key, value)) in keys.iter().enumerate() {
            self.text.push_str(if number > 0 { ", " } else { "" });
            self.text.push_str(key);
            self.text.push_str(": ");
            self.string(value)?;
        }
        self.text.push('}');
        Ok(())
    }
}

fn special(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// `1.5e3` as `1.5e+03`: with a sign and at least two digits.
fn scientific(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{mantissa}e{sign}{exponent:0>2}")
}
