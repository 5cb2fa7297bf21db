//! Conversions between types.

use std::rc::Rc;

use crate::{
    functions::Function,
    machine::{EvalError, Machine, Result},
    time::{CelTimestamp, parse_duration},
    value::{Blob, Seconds, Text, Value, ValueKind},
};

/// `None` if there is no overload for these arguments.
pub(super) fn call<'a>(
    machine: &mut Machine<'a>,
    function: Function,
    at: usize,
    arguments: &[Value<'a>],
) -> Result<Option<Value<'a>>> {
    let wrong = |message: &'static str| EvalError::new(at, message);
    Ok(Some(match (function, arguments) {
        (Function::Dyn, [value]) => value.clone(),
        (Function::TypeOf, [value]) => Value::Type(value.kind()),
        (Function::ToText, [value]) => to_text(machine, at, value)?,
        (Function::ToInt, [value]) => to_int(machine, at, value)?,
        (Function::ToUInt, [value]) => to_uint(machine, at, value)?,
        (Function::ToDouble, [value]) => to_double(machine, at, value)?,
        (Function::ToBool, [Value::Bool(flag)]) => Value::Bool(*flag),
        (Function::ToBool, [Value::Text(text)]) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Value::Bool(true),
            "false" | "False" | "FALSE" | "f" | "0" => Value::Bool(false),
            _ => return Err(wrong("bool() accepts true and false")),
        },
        (Function::ToBytes, [value @ Value::Bytes(_)]) => value.clone(),
        (Function::ToBytes, [Value::Text(Text::Borrowed(text))]) => Value::Bytes(Blob::Borrowed(text.as_bytes())),
        (Function::ToBytes, [Value::Text(text)]) => {
            machine.pay_bytes(text.len(), at)?;
            Value::Bytes(Blob::Shared(Rc::from(text.as_bytes())))
        }
        (Function::ToTimestamp, [value @ Value::Timestamp(_)]) => value.clone(),
        (Function::ToTimestamp, [Value::Int(seconds)]) => {
            let time = CelTimestamp::from_seconds(*seconds);
            Value::Timestamp(time.ok_or_else(|| wrong("the timestamp is outside of the years 1 to 9999"))?)
        }
        (Function::ToTimestamp, [Value::Text(text)]) => {
            machine.pay_bytes(text.len(), at)?;
            let message = "timestamp() accepts RFC 3339 from the year 1 to 9999, as in 2026-03-01T12:00:00Z";
            Value::Timestamp(CelTimestamp::parse(text).ok_or_else(|| wrong(message))?)
        }
        (Function::ToDuration, [value @ Value::Duration(_)]) => value.clone(),
        (Function::ToDuration, [Value::Text(text)]) => {
            machine.pay_bytes(text.len(), at)?;
            let message = "duration() accepts durations of up to 292 years, such as 10s, 1h30m or -250ms";
            Value::Duration(parse_duration(text).ok_or_else(|| wrong(message))?)
        }
        _ => return Ok(None),
    }))
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
        other => return Err(not_converted(at, other, ValueKind::Text)),
    })
}

fn not_converted(at: usize, value: &Value<'_>, to: ValueKind) -> EvalError {
    EvalError::new(at, format!("{} cannot be converted to {}", value.kind().a(), to.a()))
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
        Value::Timestamp(time) => Some(time.seconds()),
        other => return Err(not_converted(at, other, ValueKind::Int)),
    };
    number.map(Value::Int).ok_or_else(|| EvalError::new(at, "not a 64-bit integer"))
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
        other => return Err(not_converted(at, other, ValueKind::UInt)),
    };
    number.map(Value::UInt).ok_or_else(|| EvalError::new(at, "not an unsigned 64-bit integer"))
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
            text.parse().map_err(|_| EvalError::new(at, "not a number"))?
        }
        other => return Err(not_converted(at, other, ValueKind::Double)),
    }))
}
