//! Evaluation: a walk over the tree that pays for every step, so that no expression and no event takes long or much
//! memory.

use std::{borrow::Cow, rc::Rc};

use grapnel_values::limits::EXPRESSION_STEPS;

use super::{
    Inputs, Payload, builtin, operators,
    syntax::{Binding, Loop, Node, What},
    value::{BYTES_PER_STEP, Blob, List, Map, Text, Value},
};

/// Why an evaluation ended without a value.
#[derive(Debug)]
pub(super) struct EvalError {
    /// The byte of the source at which it happened.
    pub(super) at: usize,
    /// What happened; holds nothing of the event.
    pub(super) message: Cow<'static, str>,
    /// The bound on steps was met: nothing makes up for it.
    pub(super) spent: bool,
}

impl EvalError {
    pub(super) fn new(at: usize, message: impl Into<Cow<'static, str>>) -> Self {
        Self { at, message: message.into(), spent: false }
    }
}

pub(super) type Result<T> = std::result::Result<T, EvalError>;

/// What one evaluation needs.
pub(super) struct Machine<'a> {
    inputs: &'a Inputs<'a>,
    /// Values of the variables of the macros under way, outermost first.
    locals: Vec<Value<'a>>,
    /// Steps left.
    steps: u64,
}

impl<'a> Machine<'a> {
    pub(super) fn new(inputs: &'a Inputs<'a>, steps: u64) -> Self {
        Self { inputs, locals: Vec::new(), steps }
    }

    /// Steps left.
    pub(super) fn left(&self) -> u64 {
        self.steps
    }

    /// Pays for something that takes about as long as so many steps.
    pub(super) fn pay(&mut self, steps: usize, at: usize) -> Result<()> {
        match self.steps.checked_sub(steps as u64) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => {
                self.steps = 0;
                let message = too_many_steps();
                Err(EvalError { at, message: message.into(), spent: true })
            }
        }
    }

    /// Pays for looking at, or copying, so many bytes.
    pub(super) fn pay_bytes(&mut self, bytes: usize, at: usize) -> Result<()> {
        self.pay(bytes / BYTES_PER_STEP, at)
    }

    pub(super) fn value(&mut self, node: &'a Node) -> Result<Value<'a>> {
        self.pay(1, node.at)?;
        match &node.what {
            What::Literal(literal) => Ok(Value::literal(literal)),
            What::Binding(given) => Ok(self.given(*given)),
            What::Local(place) => {
                self.locals.get(*place).cloned().ok_or_else(|| EvalError::new(node.at, "this variable has no value"))
            }
            What::Select { from, field, optional } => self.select(node.at, from, field, *optional),
            What::Has { from, field } => self.has(node.at, from, field),
            What::Index { from, index, optional } => self.index(node.at, from, index, *optional),
            What::List(elements) => {
                let elements = elements.iter().map(|element| self.value(element)).collect::<Result<Vec<_>>>()?;
                Ok(Value::list(elements))
            }
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
                    left = operators::arithmetic(self, *operator, *at, left, right)?;
                }
                Ok(left)
            }
            What::Compare(comparison, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                operators::compare(self, *comparison, node.at, &left, &right).map(Value::Bool)
            }
            What::Call { function, arguments, pattern } => {
                let values = arguments.iter().map(|argument| self.value(argument)).collect::<Result<Vec<_>>>()?;
                builtin::call(self, *function, node.at, pattern.as_deref(), &values)
            }
            What::Loop { of, range, only, body } => {
                let range = self.value(range)?;
                self.walk(node.at, *of, &range, only.as_deref(), body)
            }
        }
    }

    fn given(&self, given: Binding) -> Value<'a> {
        let inputs = self.inputs;
        match given {
            Binding::Event => inputs.event.as_ref().map_or(Value::Null, |event| Value::Map(Map::Event(event))),
            Binding::Headers => Value::Map(Map::Headers(&inputs.headers)),
            Binding::Payload => match &inputs.payload {
                Payload::Nothing => Value::Null,
                Payload::Json(value) => Value::json(value),
                Payload::Text(text) => Value::Text(Text::Borrowed(text)),
                Payload::Bytes(bytes) => Value::Bytes(Blob::Borrowed(bytes)),
            },
            Binding::Claims => inputs.claims.map_or(Value::Null, Value::json),
        }
    }

    /// The value of a condition.
    fn condition(&mut self, node: &'a Node) -> Result<bool> {
        match self.value(node)? {
            Value::Bool(flag) => Ok(flag),
            other => {
                let message = format!("a bool is needed here, and this is {}", other.kind().a());
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
                Err(fault) if fault.spent => return Err(fault),
                Err(fault) => failed = failed.or(Some(fault)),
            }
        }
        failed.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn select(&mut self, at: usize, from: &'a Node, field: &'a str, optional: bool) -> Result<Value<'a>> {
        match self.value(from)? {
            Value::Optional(None) => Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => self.field(at, &inner, field).map(optionally),
            value if optional => self.field(at, &value, field).map(optionally),
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
            Value::Optional(Some(inner)) => self.element(at, &inner, &key).map(optionally),
            value if optional => self.element(at, &value, &key).map(optionally),
            value => self.element(at, &value, &key)?.ok_or_else(|| match (&value, &index.what) {
                (Value::Map(_), What::Literal(super::syntax::Literal::Text(name))) => no_key(at, name),
                (Value::Map(_), _) => EvalError::new(at, "there is no such key"),
                (Value::List(_), _) => EvalError::new(at, "the list has no such index"),
                _ => EvalError::new(at, format!("{} has no elements", value.kind().a())),
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

    fn map(&mut self, entries: &'a [(Node, Node)]) -> Result<Value<'a>> {
        let mut map: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        for (key_node, value) in entries {
            let key = self.value(key_node)?;
            if !key.is_key() {
                let message = format!("{} cannot be the key of a map", key.kind().a());
                return Err(EvalError::new(key_node.at, message));
            }
            self.pay(map.len() / 4, key_node.at)?;
            self.pay_bytes(map.len().saturating_mul(key.length()), key_node.at)?;
            if map.iter().any(|(known, _)| known.same_key(&key)) {
                return Err(EvalError::new(key_node.at, "the map has this key already"));
            }
            map.push((key, self.value(value)?));
        }
        Ok(Value::Map(Map::Shared(map.into())))
    }

    /// A macro over the elements of a list or the keys of a map.
    fn walk(
        &mut self,
        at: usize,
        of: Loop,
        range: &Value<'a>,
        only: Option<&'a Node>,
        body: &'a Node,
    ) -> Result<Value<'a>> {
        let elements = match range {
            Value::List(list) => list.clone(),
            Value::Map(map) => {
                self.pay(map.len(), at)?;
                List::Shared(map.keys().into())
            }
            other => {
                let message = format!("{} has no elements to look at; lists and maps have", other.kind().a());
                return Err(EvalError::new(at, message));
            }
        };
        let mut found = Vec::new();
        let mut hits = 0;
        let mut failed = None;
        for element in elements.iter() {
            self.pay(1, at)?;
            self.locals.push(element.clone());
            let step = self.step(of, only, body);
            self.locals.pop();
            match (of, step) {
                // One element that decides makes up for those that fail.
                (Loop::All | Loop::Exists, Err(fault)) if !fault.spent => failed = failed.or(Some(fault)),
                (_, Err(fault)) => return Err(fault),
                (Loop::All, Ok(Some(Value::Bool(false)))) => return Ok(Value::Bool(false)),
                (Loop::Exists, Ok(Some(Value::Bool(true)))) => return Ok(Value::Bool(true)),
                (Loop::ExistsOne, Ok(Some(Value::Bool(true)))) => hits += 1,
                (Loop::Filter, Ok(Some(Value::Bool(true)))) => found.push(element),
                (Loop::Map, Ok(Some(value))) => found.push(value),
                (_, Ok(_)) => {}
            }
        }
        match (of, failed) {
            (_, Some(fault)) => Err(fault),
            (Loop::All, None) => Ok(Value::Bool(true)),
            (Loop::Exists, None) => Ok(Value::Bool(false)),
            (Loop::ExistsOne, None) => Ok(Value::Bool(hits == 1)),
            (Loop::Filter | Loop::Map, None) => Ok(Value::list(found)),
        }
    }

    /// What a macro's body says of one element; `None` when the element is left out.
    fn step(&mut self, of: Loop, only: Option<&'a Node>, body: &'a Node) -> Result<Option<Value<'a>>> {
        if let Some(only) = only
            && !self.condition(only)?
        {
            return Ok(None);
        }
        if of == Loop::Map {
            self.value(body).map(Some)
        } else {
            self.condition(body).map(|flag| Some(Value::Bool(flag)))
        }
    }
}

/// What is said when there are no steps left.
pub(super) fn too_many_steps() -> String {
    format!("it takes more than the {EXPRESSION_STEPS} steps allowed with one event, or with all events of a batch")
}

/// The place that a double names, if it is whole.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole_index(index: f64) -> Option<usize> {
    (index >= 0.0 && index.fract() == 0.0 && index < 9.0e15).then_some(index as usize)
}

fn optionally(found: Option<Value<'_>>) -> Value<'_> {
    Value::Optional(found.map(Rc::new))
}

fn no_key(at: usize, name: &str) -> EvalError {
    EvalError::new(at, format!("there is no key `{name}`; has(…) asks whether there is one"))
}

fn no_fields(at: usize, field: &str, value: &Value<'_>) -> EvalError {
    EvalError::new(at, format!("{} has no field `{field}`; only maps have fields", value.kind().a()))
}
