//! Functions on optional values.

use std::rc::Rc;

use crate::{
    functions::Function,
    machine::{EvalError, Result},
    value::Value,
};

/// `None` if there is no overload for these arguments.
pub(super) fn call<'a>(function: Function, at: usize, arguments: &[Value<'a>]) -> Result<Option<Value<'a>>> {
    Ok(Some(match (function, arguments) {
        (Function::Some, [value]) => Value::Optional(Some(Rc::new(value.clone()))),
        (Function::SomeNonZero, [value]) => Value::optional((!value.is_zero()).then(|| value.clone())),
        (Function::None, []) => Value::Optional(None),
        (Function::HasValue, [Value::Optional(inner)]) => Value::Bool(inner.is_some()),
        (Function::Unwrap, [Value::Optional(Some(inner))]) => (**inner).clone(),
        (Function::Unwrap, [Value::Optional(None)]) => {
            return Err(EvalError::new(at, "the optional value is empty"));
        }
        (Function::Or, [value @ Value::Optional(Some(_)), Value::Optional(_)]) => value.clone(),
        (Function::Or, [Value::Optional(None), other @ Value::Optional(_)]) => other.clone(),
        (Function::OrValue, [Value::Optional(Some(inner)), _]) => (**inner).clone(),
        (Function::OrValue, [Value::Optional(None), other]) => other.clone(),
        _ => return Ok(None),
    }))
}
