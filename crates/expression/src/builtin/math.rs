//! The math extension.

use std::cmp::Ordering;

use crate::{
    functions::MathFunction,
    machine::{EvalError, Machine, Result},
    value::Value,
};

/// `None` if there is no overload for these arguments.
pub(super) fn call<'a>(
    machine: &mut Machine<'a>,
    function: MathFunction,
    at: usize,
    arguments: &[Value<'a>],
) -> Result<Option<Value<'a>>> {
    use MathFunction as M;
    Ok(match (function, arguments) {
        (M::Greatest, [argument]) => extreme(machine, at, argument, Ordering::Greater)?,
        (M::Least, [argument]) => extreme(machine, at, argument, Ordering::Less)?,
        (M::Abs, [Value::Int(number)]) => {
            let positive = number.checked_abs();
            Some(Value::Int(positive.ok_or_else(|| EvalError::new(at, "the result is out of range"))?))
        }
        (M::Abs, [Value::UInt(number)]) => Some(Value::UInt(*number)),
        (M::Sign, [Value::Int(number)]) => Some(Value::Int(number.signum())),
        (M::Sign, [Value::UInt(number)]) => Some(Value::UInt(u64::from(*number > 0))),
        (_, [Value::Double(number)]) => on_double(function, *number),
        (M::BitNot, [Value::Int(number)]) => Some(Value::Int(!number)),
        (M::BitNot, [Value::UInt(number)]) => Some(Value::UInt(!number)),
        (M::BitAnd, [Value::Int(a), Value::Int(b)]) => Some(Value::Int(a & b)),
        (M::BitAnd, [Value::UInt(a), Value::UInt(b)]) => Some(Value::UInt(a & b)),
        (M::BitOr, [Value::Int(a), Value::Int(b)]) => Some(Value::Int(a | b)),
        (M::BitOr, [Value::UInt(a), Value::UInt(b)]) => Some(Value::UInt(a | b)),
        (M::BitXor, [Value::Int(a), Value::Int(b)]) => Some(Value::Int(a ^ b)),
        (M::BitXor, [Value::UInt(a), Value::UInt(b)]) => Some(Value::UInt(a ^ b)),
        (M::BitShiftLeft | M::BitShiftRight, [value, Value::Int(by)]) => shift(function, at, value, *by)?,
        _ => None,
    })
}

fn on_double<'a>(function: MathFunction, number: f64) -> Option<Value<'a>> {
    use MathFunction as M;
    Some(match function {
        M::Ceil => Value::Double(number.ceil()),
        M::Floor => Value::Double(number.floor()),
        M::Round => Value::Double(number.round()),
        M::Trunc => Value::Double(number.trunc()),
        M::Abs => Value::Double(number.abs()),
        // The sign of zero is zero, and that of NaN is NaN.
        M::Sign => Value::Double(if number == 0.0 { 0.0 } else { number.signum() }),
        M::IsNan => Value::Bool(number.is_nan()),
        M::IsInf => Value::Bool(number.is_infinite()),
        M::IsFinite => Value::Bool(number.is_finite()),
        _ => return None,
    })
}

/// A shift fills with zeros, also that of a negative number to the right.
#[allow(clippy::cast_sign_loss, clippy::cast_possible_wrap)]
fn shift<'a>(function: MathFunction, at: usize, value: &Value<'a>, by: i64) -> Result<Option<Value<'a>>> {
    let (Value::Int(_) | Value::UInt(_)) = value else { return Ok(None) };
    let by = u32::try_from(by.min(64)).map_err(|_| EvalError::new(at, "the number of bits is negative"))?;
    let shifted = |bits: u64| {
        let shifted = if function == MathFunction::BitShiftLeft { bits.checked_shl(by) } else { bits.checked_shr(by) };
        shifted.unwrap_or_default()
    };
    Ok(match value {
        Value::Int(number) => Some(Value::Int(shifted(*number as u64) as i64)),
        Value::UInt(number) => Some(Value::UInt(shifted(*number))),
        _ => None,
    })
}

/// The greatest or the least of a number or of a list of numbers: the first of those that are equal.
fn extreme<'a>(
    machine: &mut Machine<'a>,
    at: usize,
    argument: &Value<'a>,
    wanted: Ordering,
) -> Result<Option<Value<'a>>> {
    let list = match argument {
        Value::Int(_) | Value::UInt(_) | Value::Double(_) => return Ok(Some(argument.clone())),
        Value::List(list) => list,
        _ => return Ok(None),
    };
    let mut found: Option<Value<'a>> = None;
    for element in list.iter() {
        machine.pay(1, at)?;
        if !matches!(element, Value::Int(_) | Value::UInt(_) | Value::Double(_)) {
            let message = format!("expected a number, found {}", element.kind().a());
            return Err(EvalError::new(at, message));
        }
        let better = match &found {
            None => true,
            Some(found) => match element.compare(found) {
                Some(order) => order == wanted,
                None => return Err(EvalError::new(at, "NaN has no order")),
            },
        };
        if better {
            found = Some(element);
        }
    }
    found.map(Some).ok_or_else(|| EvalError::new(at, "the list is empty"))
}
