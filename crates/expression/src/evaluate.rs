//! Evaluation: a walk over the tree that charges every step, so that time and memory are bounded for any expression and
//! any event.

mod comprehension;

use super::{
    Inputs, PayloadInput, builtin,
    machine::{EvalError, Machine, Result},
    operators,
    syntax::{Binding, Element, MapEntry, Node, What},
    value::{Blob, Map, Text, Value},
};

/// The state of one evaluation.
pub(super) struct Evaluator<'a> {
    inputs: &'a Inputs<'a>,
    /// Values of the variables of the enclosing macros, outermost first.
    locals: Vec<Value<'a>>,
    machine: Machine<'a>,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(inputs: &'a Inputs<'a>, steps: u64) -> Self {
        Self { inputs, locals: Vec::new(), machine: Machine::new(steps) }
    }

    /// Gives values to the variables of [`crate::parser::parse_with`].
    #[cfg(test)]
    pub(super) fn bind(&mut self, values: Vec<Value<'a>>) {
        self.locals = values;
    }

    /// Steps left.
    pub(super) fn left(&self) -> u64 {
        self.machine.left()
    }

    fn pay(&mut self, steps: usize, at: usize) -> Result<()> {
        self.machine.pay(steps, at)
    }

    fn pay_bytes(&mut self, bytes: usize, at: usize) -> Result<()> {
        self.machine.pay_bytes(bytes, at)
    }

    pub(super) fn value(&mut self, node: &'a Node) -> Result<Value<'a>> {
        self.pay(1, node.at)?;
        match &node.what {
            What::Literal(literal) => Ok(literal.value()),
            What::Binding(given) => Ok(self.given(*given)),
            What::Local(place) => {
                self.locals.get(*place).cloned().ok_or_else(|| EvalError::new(node.at, "this variable has no value"))
            }
            What::Select { from, field, optional } => self.select(node.at, from, field, *optional),
            What::Has { from, field } => self.has(node.at, from, field),
            What::Index { from, index, optional } => self.index(node.at, from, index, *optional),
            What::List(elements) => self.list(elements),
            What::Map(entries) => self.map(entries),
            What::Not(inner) => Ok(Value::Bool(!self.condition(inner)?)),
            What::Negate(inner) => {
                let value = self.value(inner)?;
                operators::negate(&value).map_err(|message| EvalError::new(node.at, message))
            }
            What::All(parts) => self.decide(parts, false),
            What::Any(parts) => self.decide(parts, true),
            What::Choice { condition, yes, no } => {
                if self.condition(condition)? {
                    self.value(yes)
                } else {
                    self.value(no)
                }
            }
            What::Arithmetic(first, rest) => {
                let mut left = self.value(first)?;
                for (operator, at, right) in rest {
                    let right = self.value(right)?;
                    left = operators::arithmetic(&mut self.machine, *operator, *at, left, right)?;
                }
                Ok(left)
            }
            What::Compare(comparison, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                operators::compare(&mut self.machine, *comparison, node.at, &left, &right).map(Value::Bool)
            }
            What::Call { function, arguments, pattern } => {
                let values = arguments.iter().map(|argument| self.value(argument)).collect::<Result<Vec<_>>>()?;
                builtin::call(&mut self.machine, *function, node.at, pattern.as_deref(), &values)
            }
            What::Loop(comprehension) => self.comprehension(node.at, comprehension),
            What::OptionalMap { from, body, flat } => self.optional_map(node.at, from, body, *flat),
        }
    }

    fn given(&self, given: Binding) -> Value<'a> {
        let inputs = self.inputs;
        match given {
            Binding::Event => inputs.event.as_ref().map_or(Value::Null, |event| Value::Map(Map::Event(event))),
            Binding::Headers => Value::Map(Map::Headers(&inputs.headers)),
            Binding::Payload => match &inputs.payload {
                PayloadInput::Nothing => Value::Null,
                PayloadInput::Json(value) => Value::json(value),
                PayloadInput::Text(text) => Value::Text(Text::Borrowed(text)),
                PayloadInput::Bytes(bytes) => Value::Bytes(Blob::Borrowed(bytes)),
            },
            Binding::Claims => inputs.claims.map_or(Value::Null, Value::json),
        }
    }

    /// The value of a condition.
    fn condition(&mut self, node: &'a Node) -> Result<bool> {
        match self.value(node)? {
            Value::Bool(flag) => Ok(flag),
            other => {
                let message = format!("expected a bool, found {}", other.kind().a());
                Err(EvalError::new(node.start(), message))
            }
        }
    }

    /// `&&` and `||`: a part that decides makes up for those that fail, whichever comes first (CEL language definition,
    /// "Logical Operators").
    fn decide(&mut self, parts: &'a [Node], decisive: bool) -> Result<Value<'a>> {
        let mut failed = None;
        for part in parts {
            match self.condition(part) {
                Ok(flag) if flag == decisive => return Ok(Value::Bool(decisive)),
                Ok(_) => {}
                Err(error) if error.spent => return Err(error),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn select(&mut self, at: usize, from: &'a Node, field: &'a str, optional: bool) -> Result<Value<'a>> {
        match self.value(from)? {
            Value::Optional(None) => Ok(Value::Optional(None)),
            // Only `.?` looks into what has no fields.
            Value::Optional(Some(inner)) if !optional && !matches!(*inner, Value::Map(_)) => {
                Err(no_fields(at, field, &inner))
            }
            Value::Optional(Some(inner)) => self.field(at, &inner, field).map(Value::optional),
            value if optional => self.field(at, &value, field).map(Value::optional),
            value => match self.field(at, &value, field)? {
                Some(found) => Ok(found),
                None if matches!(value, Value::Map(_)) => Err(no_key(at, field)),
                None => Err(no_fields(at, field, &value)),
            },
        }
    }

    fn has(&mut self, at: usize, from: &'a Node, field: &'a str) -> Result<Value<'a>> {
        let value = match self.value(from)? {
            Value::Optional(None) => return Ok(Value::Bool(false)),
            Value::Optional(Some(inner)) => (*inner).clone(),
            value => value,
        };
        if !matches!(value, Value::Map(_)) {
            return Err(no_fields(at, field, &value));
        }
        Ok(Value::Bool(self.field(at, &value, field)?.is_some()))
    }

    fn field(&mut self, at: usize, value: &Value<'a>, field: &str) -> Result<Option<Value<'a>>> {
        let Value::Map(map) = value else { return Ok(None) };
        self.pay(map.search(field.len()), at)?;
        Ok(map.field(field))
    }

    fn index(&mut self, at: usize, from: &'a Node, index: &'a Node, optional: bool) -> Result<Value<'a>> {
        let value = self.value(from)?;
        let key = self.value(index)?;
        match value {
            Value::Optional(None) => Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) if !optional && !matches!(*inner, Value::Map(_) | Value::List(_)) => {
                Err(no_elements(at, &inner))
            }
            Value::Optional(Some(inner)) => self.element(at, &inner, &key).map(Value::optional),
            value if optional => self.element(at, &value, &key).map(Value::optional),
            value => self.element(at, &value, &key)?.ok_or_else(|| match (&value, &index.what) {
                (Value::Map(_), What::Literal(super::syntax::Literal::Text(name))) => no_key(at, name),
                (Value::Map(_), _) => EvalError::new(at, "there is no such key"),
                (Value::List(_), _) => EvalError::new(at, "the list has no such index"),
                _ => no_elements(at, &value),
            }),
        }
    }

    fn element(&mut self, at: usize, value: &Value<'a>, key: &Value<'a>) -> Result<Option<Value<'a>>> {
        match value {
            Value::Map(map) => {
                self.pay(map.search_key(key), at)?;
                Ok(map.get(key))
            }
            Value::List(list) => {
                let place = match key {
                    Value::Int(index) => usize::try_from(*index).ok(),
                    Value::UInt(index) => usize::try_from(*index).ok(),
                    // A count that went through a division may be a double.
                    Value::Double(index) => whole_index(*index),
                    other => {
                        return Err(EvalError::new(at, format!("a list has no element at {}", other.kind().a())));
                    }
                };
                Ok(place.and_then(|place| list.get(place)))
            }
            _ => Ok(None),
        }
    }

    fn list(&mut self, elements: &'a [Element]) -> Result<Value<'a>> {
        let mut list = Vec::with_capacity(elements.len());
        for Element { optional, value } in elements {
            let found = self.value(value)?;
            if *optional {
                list.extend(present(value, found)?);
            } else {
                list.push(found);
            }
        }
        Ok(Value::list(list))
    }

    fn map(&mut self, entries: &'a [MapEntry]) -> Result<Value<'a>> {
        let mut map = Vec::with_capacity(entries.len());
        for MapEntry { optional, key: key_node, value } in entries {
            let key = self.value(key_node)?;
            if !key.is_key() {
                let message = format!("{} cannot be the key of a map", key.kind().a());
                return Err(EvalError::new(key_node.at, message));
            }
            let found = self.value(value)?;
            let found = if *optional { present(value, found)? } else { Some(found) };
            if let Some(found) = found {
                self.insert(key_node.at, &mut map, key, found)?;
            }
        }
        Ok(Value::Map(Map::Shared(map.into())))
    }

    /// Adds an entry to a map that does not have its key yet.
    fn insert(
        &mut self,
        at: usize,
        map: &mut Vec<(Value<'a>, Value<'a>)>,
        key: Value<'a>,
        value: Value<'a>,
    ) -> Result<()> {
        self.pay(map.len() / 4, at)?;
        self.pay_bytes(map.len().saturating_mul(key.length()), at)?;
        if map.iter().any(|(known, _)| known.same_key(&key)) {
            return Err(EvalError::new(at, "the map has this key already"));
        }
        map.push((key, value));
        Ok(())
    }
}

/// The value of an optional element or entry.
fn present<'a>(node: &Node, value: Value<'a>) -> Result<Option<Value<'a>>> {
    match value {
        Value::Optional(found) => Ok(found.map(|found| (*found).clone())),
        other => {
            let message = format!("expected an optional value after `?`, found {}", other.kind().a());
            Err(EvalError::new(node.start(), message))
        }
    }
}

/// The index that a double is, if it is whole.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole_index(index: f64) -> Option<usize> {
    (index >= 0.0 && index.fract() == 0.0 && index < 9.0e15).then_some(index as usize)
}

fn no_key(at: usize, name: &str) -> EvalError {
    EvalError::new(at, format!("no such key `{name}`; use has(…) to test for it"))
}

fn no_fields(at: usize, field: &str, value: &Value<'_>) -> EvalError {
    EvalError::new(at, format!("{} has no field `{field}`; only maps have fields", value.kind().a()))
}

fn no_elements(at: usize, value: &Value<'_>) -> EvalError {
    EvalError::new(at, format!("{} has no elements", value.kind().a()))
}
