//! What the functions do.

use std::rc::Rc;

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use grapnel_values::duration;
use jiff::{SignedDuration, Timestamp, civil::Weekday, tz::Offset};

use super::{
    evaluate::{EvalError, Machine, Result},
    functions::{Function, TimePart},
    pattern::{Pattern, UNREADABLE},
    value::{Blob, Kind, List, Seconds, Text, Value},
};

/// Reads base64 with its padding or without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Calls a function; a method's receiver is the first argument.
pub(super) fn call<'a>(
    machine: &mut Machine<'a>,
    function: Function,
    at: usize,
    pattern: Option<&Pattern>,
    arguments: &[Value<'a>],
) -> Result<Value<'a>> {
    let wrong = |message: &'static str| EvalError::new(at, message);
    Ok(match (function, arguments) {
        (Function::Dyn, [value]) => value.clone(),
        (Function::TypeOf, [value]) => Value::Type(value.kind()),
        (Function::Size, [Value::Text(text)]) => {
            machine.pay_bytes(text.len(), at)?;
            whole(text.chars().count())
        }
        (Function::Size, [Value::Bytes(bytes)]) => whole(bytes.len()),
        (Function::Size, [Value::List(list)]) => whole(list.len()),
        (Function::Size, [Value::Map(map)]) => whole(map.len()),
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
        (Function::Matches, [Value::Text(text), Value::Text(source)]) => {
            matches(machine, at, text, source, pattern).map(Value::Bool)?
        }
        (Function::ToText, [value]) => to_text(machine, at, value)?,
        (Function::ToInt, [value]) => to_int(machine, at, value)?,
        (Function::ToUInt, [value]) => to_uint(machine, at, value)?,
        (Function::ToDouble, [value]) => to_double(machine, at, value)?,
        (Function::ToBool, [Value::Bool(flag)]) => Value::Bool(*flag),
        (Function::ToBool, [Value::Text(text)]) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Value::Bool(true),
            "false" | "False" | "FALSE" | "f" | "0" => Value::Bool(false),
            _ => return Err(wrong("bool() reads true and false")),
        },
        (Function::ToBytes, [value @ Value::Bytes(_)]) => value.clone(),
        (Function::ToBytes, [Value::Text(Text::Borrowed(text))]) => Value::Bytes(Blob::Borrowed(text.as_bytes())),
        (Function::ToBytes, [Value::Text(text)]) => {
            machine.pay_bytes(text.len(), at)?;
            Value::Bytes(Blob::Shared(Rc::from(text.as_bytes())))
        }
        (Function::ToTimestamp, [value @ Value::Timestamp(_)]) => value.clone(),
        (Function::ToTimestamp, [Value::Int(seconds)]) => {
            let time = Timestamp::from_second(*seconds);
            Value::Timestamp(time.map_err(|_| wrong("this is no time between the years -9999 and 9999"))?)
        }
        (Function::ToTimestamp, [Value::Text(text)]) => {
            machine.pay_bytes(text.len(), at)?;
            let time = text.parse();
            Value::Timestamp(time.map_err(|_| wrong("timestamp() reads RFC 3339, as in 2026-03-01T12:00:00Z"))?)
        }
        (Function::ToDuration, [value @ Value::Duration(_)]) => value.clone(),
        (Function::ToDuration, [Value::Text(text)]) => {
            machine.pay_bytes(text.len(), at)?;
            let span = signed_duration(text);
            Value::Duration(span.ok_or_else(|| wrong("duration() reads durations such as 10s, 1h30m or -250ms"))?)
        }
        (Function::Part(part), [Value::Duration(duration)]) => Value::Int(duration_part(part, *duration)),
        (Function::Part(part), [Value::Timestamp(time)]) => Value::Int(time_part(part, *time, Offset::UTC)),
        (Function::Part(part), [Value::Timestamp(time), Value::Text(zone)]) => {
            machine.pay_bytes(zone.len(), at)?;
            let offset = offset(zone).ok_or_else(|| wrong("time zones are UTC and offsets such as +02:00"))?;
            Value::Int(time_part(part, *time, offset))
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
        (Function::Replace, [Value::Text(text), Value::Text(old), Value::Text(new)]) => {
            // Paid for before it is made: a short text can become a long one.
            let times = if old.is_empty() { text.len() + 1 } else { text.len() / old.len() };
            let made = times.saturating_mul(new.len());
            machine.pay_bytes(text.len().saturating_add(old.len()).saturating_add(made), at)?;
            Value::text(text.replace(&**old, new))
        }
        (Function::Split, [Value::Text(text), Value::Text(separator)]) => split(machine, at, text, separator)?,
        (Function::Join, [Value::List(list)]) => join(machine, at, list, "")?,
        (Function::Join, [Value::List(list), Value::Text(separator)]) => join(machine, at, list, separator)?,
        (Function::Substring, [Value::Text(text), Value::Int(from)]) => substring(machine, at, text, *from, None)?,
        (Function::Substring, [Value::Text(text), Value::Int(from), Value::Int(to)]) => {
            substring(machine, at, text, *from, Some(*to))?
        }
        (Function::IndexOf, [Value::Text(text), Value::Text(part)]) => {
            machine.pay_bytes(text.len().saturating_add(part.len()), at)?;
            place(text, text.find(&**part))
        }
        (Function::LastIndexOf, [Value::Text(text), Value::Text(part)]) => {
            machine.pay_bytes(text.len().saturating_add(part.len()), at)?;
            place(text, text.rfind(&**part))
        }
        (Function::Encode, [Value::Bytes(bytes)]) => {
            machine.pay_bytes(2 * bytes.len(), at)?;
            Value::text(STANDARD.encode(&**bytes))
        }
        (Function::Decode, [Value::Text(text)]) => {
            machine.pay_bytes(text.len(), at)?;
            let bytes = LENIENT.decode(&**text).map_err(|_| wrong("this is not base64"))?;
            Value::Bytes(Blob::Shared(bytes.into()))
        }
        (Function::Some, [value]) => Value::Optional(Some(Rc::new(value.clone()))),
        (Function::None, []) => Value::Optional(None),
        (Function::HasValue, [Value::Optional(inner)]) => Value::Bool(inner.is_some()),
        (Function::Unwrap, [Value::Optional(Some(inner))]) => (**inner).clone(),
        (Function::Unwrap, [Value::Optional(None)]) => return Err(wrong("the optional value holds nothing")),
        (Function::Or, [value @ Value::Optional(Some(_)), Value::Optional(_)]) => value.clone(),
        (Function::Or, [Value::Optional(None), other @ Value::Optional(_)]) => other.clone(),
        (Function::OrValue, [Value::Optional(Some(inner)), _]) => (**inner).clone(),
        (Function::OrValue, [Value::Optional(None), other]) => other.clone(),
        (function, arguments) => {
            let kinds: Vec<_> = arguments.iter().map(|argument| argument.kind().name()).collect();
            return Err(EvalError::new(
                at,
                format!("`{}` cannot be called with {}", function.name(), kinds.join(", ")),
            ));
        }
    })
}

fn whole<'a>(number: usize) -> Value<'a> {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Searches with a pattern, which is compiled first where it is not a literal.
fn matches(machine: &mut Machine<'_>, at: usize, text: &str, source: &str, compiled: Option<&Pattern>) -> Result<bool> {
    let own;
    let pattern = match compiled {
        Some(pattern) => pattern,
        None => {
            let read = Pattern::compile(source, |steps| machine.pay(steps, at))?;
            own = read.ok_or_else(|| EvalError::new(at, UNREADABLE))?;
            &own
        }
    };
    machine.pay(pattern.steps(text.len()), at)?;
    Ok(pattern.is_match(text))
}

fn to_text<'a>(machine: &mut Machine<'a>, at: usize, value: &Value<'a>) -> Result<Value<'a>> {
    Ok(match value {
        Value::Text(_) => value.clone(),
        Value::Int(number) => Value::text(number.to_string()),
        Value::UInt(number) => Value::text(number.to_string()),
        Value::Double(number) => {
            // It may have more than three hundred digits.
            let text = number.to_string();
            machine.pay_bytes(text.len(), at)?;
            Value::text(text)
        }
        Value::Bool(flag) => Value::text(flag.to_string()),
        Value::Timestamp(time) => Value::text(time.to_string()),
        Value::Duration(duration) => Value::text(Seconds(*duration).to_string()),
        Value::Bytes(bytes) => {
            machine.pay_bytes(bytes.len(), at)?;
            let text = std::str::from_utf8(bytes);
            Value::text(text.map_err(|_| EvalError::new(at, "these bytes are not UTF-8"))?)
        }
        other => return Err(not_converted(at, other, Kind::Text)),
    })
}

fn not_converted(at: usize, value: &Value<'_>, to: Kind) -> EvalError {
    EvalError::new(at, format!("{} does not become {}", value.kind().a(), to.a()))
}

fn to_int<'a>(machine: &mut Machine<'a>, at: usize, value: &Value<'a>) -> Result<Value<'a>> {
    let number = match value {
        Value::Int(number) => Some(*number),
        Value::UInt(number) => i64::try_from(*number).ok(),
        Value::Double(number) => truncated(*number, -9_223_372_036_854_775_808.0, 9_223_372_036_854_775_808.0)
            .and_then(|number| i64::try_from(number).ok()),
        Value::Text(text) => {
            machine.pay_bytes(text.len(), at)?;
            text.parse().ok()
        }
        Value::Timestamp(time) => Some(time.as_second()),
        other => return Err(not_converted(at, other, Kind::Int)),
    };
    number.map(Value::Int).ok_or_else(|| EvalError::new(at, "this is no integer of 64 bits"))
}

fn to_uint<'a>(machine: &mut Machine<'a>, at: usize, value: &Value<'a>) -> Result<Value<'a>> {
    let number = match value {
        Value::UInt(number) => Some(*number),
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::Double(number) => {
            truncated(*number, 0.0, 18_446_744_073_709_551_616.0).and_then(|number| u64::try_from(number).ok())
        }
        Value::Text(text) => {
            machine.pay_bytes(text.len(), at)?;
            text.parse().ok()
        }
        other => return Err(not_converted(at, other, Kind::UInt)),
    };
    number.map(Value::UInt).ok_or_else(|| EvalError::new(at, "this is no unsigned integer of 64 bits"))
}

/// The whole part of a number from `least` on and below `end`.
#[allow(clippy::cast_possible_truncation)]
fn truncated(number: f64, least: f64, end: f64) -> Option<i128> {
    (number >= least && number < end).then_some(number as i128)
}

#[allow(clippy::cast_precision_loss)]
fn to_double<'a>(machine: &mut Machine<'a>, at: usize, value: &Value<'a>) -> Result<Value<'a>> {
    Ok(Value::Double(match value {
        Value::Double(number) => *number,
        Value::Int(number) => *number as f64,
        Value::UInt(number) => *number as f64,
        Value::Text(text) => {
            machine.pay_bytes(text.len(), at)?;
            text.parse().map_err(|_| EvalError::new(at, "this is no number"))?
        }
        other => return Err(not_converted(at, other, Kind::Double)),
    }))
}

fn signed_duration(text: &str) -> Option<SignedDuration> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let duration = SignedDuration::try_from(duration::parse(text).ok()?).ok()?;
    if negative { duration.checked_neg() } else { Some(duration) }
}

fn duration_part(part: TimePart, duration: SignedDuration) -> i64 {
    match part {
        TimePart::Hours => duration.as_secs() / 3600,
        TimePart::Minutes => duration.as_secs() / 60,
        TimePart::Milliseconds => i64::from(duration.subsec_millis()),
        // No other part is asked of a duration.
        _ => duration.as_secs(),
    }
}

/// CEL counts months, days of the year and days of the month from 0, dates from 1, and days of the week from Sunday.
fn time_part(part: TimePart, time: Timestamp, offset: Offset) -> i64 {
    let local = offset.to_datetime(time);
    match part {
        TimePart::FullYear => i64::from(local.year()),
        TimePart::Month => i64::from(local.month()) - 1,
        TimePart::DayOfYear => i64::from(local.day_of_year()) - 1,
        TimePart::DayOfMonth => i64::from(local.day()) - 1,
        TimePart::Date => i64::from(local.day()),
        TimePart::DayOfWeek => i64::from(Weekday::to_sunday_zero_offset(local.weekday())),
        TimePart::Hours => i64::from(local.hour()),
        TimePart::Minutes => i64::from(local.minute()),
        TimePart::Seconds => i64::from(local.second()),
        TimePart::Milliseconds => i64::from(local.millisecond()),
    }
}

/// `UTC`, or an offset such as `+02:00`. Names of zones need a database, which rules have not.
fn offset(zone: &str) -> Option<Offset> {
    if matches!(zone, "UTC" | "Z" | "Etc/UTC") {
        return Some(Offset::UTC);
    }
    let (sign, digits) = match zone.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, zone.strip_prefix('+').unwrap_or(zone)),
    };
    let (hours, minutes) = digits.split_once(':')?;
    let part = |digits: &str| (digits.len() == 2).then(|| digits.parse::<u8>().ok()).flatten().map(i32::from);
    let (hours, minutes) = (part(hours)?, part(minutes)?);
    if minutes >= 60 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

fn split<'a>(machine: &mut Machine<'a>, at: usize, text: &Text<'a>, separator: &str) -> Result<Value<'a>> {
    let mut parts: Vec<Value<'a>> = Vec::new();
    machine.pay_bytes(text.len().saturating_add(separator.len()), at)?;
    // Without a separator it is split into its characters.
    let pieces: Box<dyn Iterator<Item = &str>> = if separator.is_empty() {
        Box::new(text.split("").filter(|piece| !piece.is_empty()))
    } else {
        Box::new(text.split(separator))
    };
    for piece in pieces {
        machine.pay(2, at)?;
        parts.push(Value::text(piece));
    }
    Ok(Value::list(parts))
}

fn join<'a>(machine: &mut Machine<'a>, at: usize, list: &List<'a>, separator: &str) -> Result<Value<'a>> {
    let mut joined = String::new();
    for (number, element) in list.iter().enumerate() {
        let Value::Text(text) = &element else {
            let message = format!("join() joins strings, and one of these is {}", element.kind().a());
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

/// Characters from one place up to another, counted from 0.
fn substring<'a>(
    machine: &mut Machine<'a>,
    at: usize,
    text: &Text<'a>,
    from: i64,
    to: Option<i64>,
) -> Result<Value<'a>> {
    machine.pay_bytes(text.len(), at)?;
    let outside = || EvalError::new(at, "substring() is asked for characters outside of the string");
    let length = text.chars().count();
    let from = usize::try_from(from).map_err(|_| outside())?;
    let to = to.map_or(Ok(length), usize::try_from).map_err(|_| outside())?;
    if from > to || to > length {
        return Err(outside());
    }
    let part: String = text.chars().skip(from).take(to - from).collect();
    Ok(Value::text(part))
}

/// The place of a byte, in characters; -1 for none.
fn place<'a>(text: &str, byte: Option<usize>) -> Value<'a> {
    let before = byte.and_then(|byte| text.get(..byte)).map(|before| before.chars().count());
    before.map_or(Value::Int(-1), whole)
}
