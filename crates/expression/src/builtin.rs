//! Calls of functions.

mod conversion;
mod format;
mod math;
mod optional;
mod text;
mod time;

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};

use super::{
    functions::Function,
    machine::{EvalError, Machine, Result},
    pattern::Pattern,
    value::{Blob, Value},
};

/// Reads base64 with its padding or without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Calls a function; a method's receiver is the first argument. `pattern` is the compiled second argument of `matches`
/// and `find`, if that is a literal.
pub(super) fn call<'a>(
    machine: &mut Machine<'a>,
    function: Function,
    at: usize,
    pattern: Option<&'a Pattern>,
    arguments: &[Value<'a>],
) -> Result<Value<'a>> {
    let result = match function {
        Function::Part(part) => time::part(machine, part, at, arguments)?,
        Function::Math(function) => math::call(machine, function, at, arguments)?,
        Function::ToText
        | Function::ToInt
        | Function::ToUInt
        | Function::ToDouble
        | Function::ToBool
        | Function::ToBytes
        | Function::ToTimestamp
        | Function::ToDuration
        | Function::TypeOf
        | Function::Dyn => conversion::call(machine, function, at, arguments)?,
        Function::Some
        | Function::SomeNonZero
        | Function::None
        | Function::HasValue
        | Function::Unwrap
        | Function::Or
        | Function::OrValue => optional::call(function, at, arguments)?,
        Function::Matches => match arguments {
            [Value::Text(text), Value::Text(source)] => Some(Value::Bool(machine.matches(at, text, source, pattern)?)),
            _ => None,
        },
        Function::Find => match arguments {
            [Value::Text(text), Value::Text(source)] => {
                let found = machine.find(at, text, source, pattern)?.unwrap_or_default();
                machine.pay_bytes(found.len(), at)?;
                Some(Value::text(found))
            }
            _ => None,
        },
        Function::Format => match arguments {
            [Value::Text(template), Value::List(list)] => Some(format::format(machine, at, template, list)?),
            _ => None,
        },
        Function::Size => size(machine, at, arguments)?,
        Function::Encode | Function::Decode => base64(machine, function, at, arguments)?,
        _ => text::call(machine, function, at, arguments)?,
    };
    result.ok_or_else(|| {
        let kinds: Vec<_> = arguments.iter().map(|argument| argument.kind().name()).collect();
        EvalError::new(at, format!("`{}` cannot be called with {}", function.name(), kinds.join(", ")))
    })
}

fn size<'a>(machine: &mut Machine<'a>, at: usize, arguments: &[Value<'a>]) -> Result<Option<Value<'a>>> {
    Ok(match arguments {
        [Value::Text(text)] => {
            machine.pay_bytes(text.len(), at)?;
            Some(whole(text.chars().count()))
        }
        [Value::Bytes(bytes)] => Some(whole(bytes.len())),
        [Value::List(list)] => Some(whole(list.len())),
        [Value::Map(map)] => Some(whole(map.len())),
        _ => None,
    })
}

fn base64<'a>(
    machine: &mut Machine<'a>,
    function: Function,
    at: usize,
    arguments: &[Value<'a>],
) -> Result<Option<Value<'a>>> {
    Ok(match (function, arguments) {
        (Function::Encode, [Value::Bytes(bytes)]) => {
            machine.pay_bytes(2 * bytes.len(), at)?;
            Some(Value::text(STANDARD.encode(&**bytes)))
        }
        (Function::Decode, [Value::Text(text)]) => {
            machine.pay_bytes(text.len(), at)?;
            let bytes = LENIENT.decode(&**text).map_err(|_| EvalError::new(at, "this is not base64"))?;
            Some(Value::Bytes(Blob::Shared(bytes.into())))
        }
        _ => None,
    })
}

fn whole<'a>(number: usize) -> Value<'a> {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}
