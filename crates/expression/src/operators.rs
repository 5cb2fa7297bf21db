//! Operators on values (CEL language definition, "Arithmetic" and "Equality and Ordering").

use std::{cmp::Ordering, rc::Rc};

use super::{
    machine::{EvalError, Machine, Result},
    syntax::{Arithmetic, Comparison},
    time::{add_durations, subtract_durations},
    value::{Blob, List, Map, Value},
};

pub(super) fn negate<'a>(value: &Value<'a>) -> std::result::Result<Value<'a>, String> {
    let negated = match value {
        Value::Int(number) => number.checked_neg().map(Value::Int),
        Value::Double(number) => Some(Value::Double(-number)),
        other => return Err(format!("{} cannot be negated", other.kind().a())),
    };
    negated.ok_or_else(|| "the result does not fit into 64 bits".into())
}

pub(super) fn arithmetic<'a>(
    machine: &mut Machine<'a>,
    operator: Arithmetic,
    at: usize,
    left: Value<'a>,
    right: Value<'a>,
) -> Result<Value<'a>> {
    use Arithmetic::{Add, Divide, Multiply, Remainder, Subtract};
    let result = match (operator, &left, &right) {
        (Divide | Remainder, _, Value::Int(0) | Value::UInt(0)) => {
            return Err(EvalError::new(at, "division by zero"));
        }
        (_, Value::Int(a), Value::Int(b)) => match operator {
            Add => a.checked_add(*b),
            Subtract => a.checked_sub(*b),
            Multiply => a.checked_mul(*b),
            Divide => a.checked_div(*b),
            Remainder => a.checked_rem(*b),
        }
        .map(Value::Int),
        (_, Value::UInt(a), Value::UInt(b)) => match operator {
            Add => a.checked_add(*b),
            Subtract => a.checked_sub(*b),
            Multiply => a.checked_mul(*b),
            Divide => a.checked_div(*b),
            Remainder => a.checked_rem(*b),
        }
        .map(Value::UInt),
        (Add, Value::Double(a), Value::Double(b)) => Some(Value::Double(a + b)),
        (Subtract, Value::Double(a), Value::Double(b)) => Some(Value::Double(a - b)),
        (Multiply, Value::Double(a), Value::Double(b)) => Some(Value::Double(a * b)),
        (Divide, Value::Double(a), Value::Double(b)) => Some(Value::Double(a / b)),
        (Add, Value::Text(a), Value::Text(b)) => {
            machine.pay_bytes(a.len() + b.len(), at)?;
            Some(Value::text([&**a, &**b].concat()))
        }
        (Add, Value::Bytes(a), Value::Bytes(b)) => {
            machine.pay_bytes(a.len() + b.len(), at)?;
            Some(Value::Bytes(Blob::Shared(Rc::from([&**a, &**b].concat()))))
        }
        (Add, Value::List(a), Value::List(b)) => {
            machine.pay(a.len() + b.len(), at)?;
            Some(Value::list(a.iter().chain(b.iter()).collect()))
        }
        (Add, Value::Timestamp(a), Value::Duration(b)) | (Add, Value::Duration(b), Value::Timestamp(a)) => {
            a.checked_add(*b).map(Value::Timestamp)
        }
        (Subtract, Value::Timestamp(a), Value::Duration(b)) => a.checked_sub(*b).map(Value::Timestamp),
        (Subtract, Value::Timestamp(a), Value::Timestamp(b)) => a.since(*b).map(Value::Duration),
        (Add, Value::Duration(a), Value::Duration(b)) => add_durations(*a, *b).map(Value::Duration),
        (Subtract, Value::Duration(a), Value::Duration(b)) => subtract_durations(*a, *b).map(Value::Duration),
        _ => {
            let (sign, left, right) = (operator.sign(), left.kind().name(), right.kind().name());
            return Err(EvalError::new(at, format!("`{sign}` is not defined for {left} and {right}")));
        }
    };
    result.ok_or_else(|| EvalError::new(at, "the result is out of range"))
}

pub(super) fn compare<'a>(
    machine: &mut Machine<'a>,
    comparison: Comparison,
    at: usize,
    left: &Value<'a>,
    right: &Value<'a>,
) -> Result<bool> {
    let wanted: &[Ordering] = match comparison {
        Comparison::Equal => return equal(machine, at, left, right),
        Comparison::Unequal => return equal(machine, at, left, right).map(|same| !same),
        Comparison::In => return contains(machine, at, left, right),
        Comparison::Less => &[Ordering::Less],
        Comparison::AtMost => &[Ordering::Less, Ordering::Equal],
        Comparison::Greater => &[Ordering::Greater],
        Comparison::AtLeast => &[Ordering::Greater, Ordering::Equal],
    };
    pay_for_pair(machine, at, left, right)?;
    match left.compare(right) {
        Some(order) => Ok(wanted.contains(&order)),
        // Nothing is less, nor greater, than what is no number.
        None if matches!((left, right), (Value::Double(_), _) | (_, Value::Double(_)))
            && is_number(left)
            && is_number(right) =>
        {
            Ok(false)
        }
        None => {
            let (sign, left, right) = (comparison.sign(), left.kind().name(), right.kind().name());
            Err(EvalError::new(at, format!("`{sign}` is not defined for {left} and {right}")))
        }
    }
}

fn is_number(value: &Value<'_>) -> bool {
    matches!(value, Value::Int(_) | Value::UInt(_) | Value::Double(_))
}

fn pay_for_pair(machine: &mut Machine<'_>, at: usize, left: &Value<'_>, right: &Value<'_>) -> Result<()> {
    machine.pay_bytes(left.length().min(right.length()), at)
}

/// Equality; values of different sorts are unequal, numbers are compared by value.
pub(super) fn equal<'a>(machine: &mut Machine<'a>, at: usize, left: &Value<'a>, right: &Value<'a>) -> Result<bool> {
    machine.pay(1, at)?;
    match (left, right) {
        (Value::Null, Value::Null) => Ok(true),
        (Value::Type(a), Value::Type(b)) => Ok(a == b),
        (Value::List(a), Value::List(b)) => equal_lists(machine, at, a, b),
        (Value::Map(a), Value::Map(b)) => equal_maps(machine, at, a, b),
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => equal(machine, at, a, b),
        (Value::Optional(a), Value::Optional(b)) => Ok(a.is_none() && b.is_none()),
        _ => {
            pay_for_pair(machine, at, left, right)?;
            Ok(left.compare(right) == Some(Ordering::Equal))
        }
    }
}

fn equal_lists<'a>(machine: &mut Machine<'a>, at: usize, left: &List<'a>, right: &List<'a>) -> Result<bool> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (a, b) in left.iter().zip(right.iter()) {
        if !equal(machine, at, &a, &b)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn equal_maps<'a>(machine: &mut Machine<'a>, at: usize, left: &Map<'a>, right: &Map<'a>) -> Result<bool> {
    if left.len() != right.len() {
        return Ok(false);
    }
    machine.pay(left.len(), at)?;
    for key in left.keys() {
        machine.pay(left.search_key(&key).saturating_add(right.search_key(&key)), at)?;
        let (Some(a), Some(b)) = (left.get(&key), right.get(&key)) else { return Ok(false) };
        if !equal(machine, at, &a, &b)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn contains<'a>(machine: &mut Machine<'a>, at: usize, needle: &Value<'a>, range: &Value<'a>) -> Result<bool> {
    match range {
        Value::List(list) => {
            for element in list.iter() {
                if equal(machine, at, &element, needle)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(map) => {
            machine.pay(map.search_key(needle), at)?;
            Ok(map.get(needle).is_some())
        }
        other => {
            let message = format!("`in` requires a list or a map, not {}", other.kind().a());
            Err(EvalError::new(at, message))
        }
    }
}
