//! Macros that evaluate an expression for each element.

use super::Evaluator;
use crate::{
    machine::{EvalError, Result},
    syntax::{Comprehension, Loop, Node},
    value::{List, Map, Value},
};

/// What a macro takes of one element.
enum ElementResult<'a> {
    /// The condition does not hold, or the filter leaves the element out.
    No,
    Yes,
    Value(Value<'a>),
}

impl<'a> Evaluator<'a> {
    pub(super) fn comprehension(&mut self, at: usize, comprehension: &'a Comprehension) -> Result<Value<'a>> {
        let of = comprehension.of;
        let elements = self.elements(at, comprehension)?;
        let mut list = Vec::new();
        let mut map = Vec::new();
        let mut hits = 0;
        let mut failed = None;
        for element in elements.iter() {
            self.pay(1, at)?;
            match (of, self.element_step(comprehension, &element)) {
                // One element that decides makes up for those that fail.
                (Loop::All | Loop::Exists, Err(error)) if !error.spent => failed = failed.or(Some(error)),
                (_, Err(error)) => return Err(error),
                (Loop::All, Ok(ElementResult::No)) => return Ok(Value::Bool(false)),
                (Loop::Exists, Ok(ElementResult::Yes)) => return Ok(Value::Bool(true)),
                (Loop::ExistsOne, Ok(ElementResult::Yes)) => hits += 1,
                (Loop::Filter, Ok(ElementResult::Yes)) => list.push(element.value()),
                (Loop::Map, Ok(ElementResult::Value(value))) => list.push(value),
                // The keys of the range are distinct.
                (Loop::MapValues, Ok(ElementResult::Value(value))) => map.push((element.key(), value)),
                (Loop::MapEntries, Ok(ElementResult::Value(value))) => self.add_entries(at, &mut map, &value)?,
                (_, Ok(_)) => {}
            }
        }
        match (of, failed) {
            (_, Some(error)) => Err(error),
            (Loop::All, None) => Ok(Value::Bool(true)),
            (Loop::Exists, None) => Ok(Value::Bool(false)),
            (Loop::ExistsOne, None) => Ok(Value::Bool(hits == 1)),
            (Loop::Filter | Loop::Map, None) => Ok(Value::list(list)),
            (Loop::MapValues | Loop::MapEntries, None) => Ok(Value::Map(Map::Shared(map.into()))),
        }
    }

    fn elements(&mut self, at: usize, comprehension: &'a Comprehension) -> Result<Elements<'a>> {
        match self.value(&comprehension.range)? {
            Value::List(list) => Ok(Elements::List(list)),
            Value::Map(map) => {
                self.pay(map.len(), at)?;
                Ok(if comprehension.pairs { Elements::Entries(map.entries()) } else { Elements::Keys(map.keys()) })
            }
            other => {
                let message = format!("{} cannot be iterated; use a list or a map", other.kind().a());
                Err(EvalError::new(at, message))
            }
        }
    }

    fn element_step(&mut self, comprehension: &'a Comprehension, element: &Element<'a>) -> Result<ElementResult<'a>> {
        let outer = self.locals.len();
        if comprehension.pairs {
            self.locals.push(element.key());
        }
        self.locals.push(element.value());
        let step = self.step(comprehension);
        self.locals.truncate(outer);
        step
    }

    fn step(&mut self, comprehension: &'a Comprehension) -> Result<ElementResult<'a>> {
        if let Some(only) = &comprehension.only
            && !self.condition(only)?
        {
            return Ok(ElementResult::No);
        }
        match comprehension.of {
            Loop::Map | Loop::MapValues | Loop::MapEntries => self.value(&comprehension.body).map(ElementResult::Value),
            Loop::All | Loop::Exists | Loop::ExistsOne | Loop::Filter => self
                .condition(&comprehension.body)
                .map(|holds| if holds { ElementResult::Yes } else { ElementResult::No }),
        }
    }

    /// `transformMapEntry`: adds the entries of the map that the body made.
    fn add_entries(&mut self, at: usize, map: &mut Vec<(Value<'a>, Value<'a>)>, made: &Value<'a>) -> Result<()> {
        let Value::Map(made) = made else {
            let message = format!("transformMapEntry requires a map of entries, not {}", made.kind().a());
            return Err(EvalError::new(at, message));
        };
        self.pay(made.len(), at)?;
        for (key, value) in made.entries() {
            self.insert(at, map, key, value)?;
        }
        Ok(())
    }

    /// `optMap` and `optFlatMap`.
    pub(super) fn optional_map(&mut self, at: usize, from: &'a Node, body: &'a Node, flat: bool) -> Result<Value<'a>> {
        let inner = match self.value(from)? {
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => (*inner).clone(),
            other => {
                let message = format!("expected an optional value, found {}", other.kind().a());
                return Err(EvalError::new(at, message));
            }
        };
        self.locals.push(inner);
        let value = self.value(body);
        self.locals.pop();
        match value? {
            value if !flat => Ok(Value::optional(Some(value))),
            value @ Value::Optional(_) => Ok(value),
            other => {
                let message = format!("optFlatMap requires an optional value, not {}", other.kind().a());
                Err(EvalError::new(at, message))
            }
        }
    }
}

/// What a macro iterates.
enum Elements<'a> {
    List(List<'a>),
    Keys(Vec<Value<'a>>),
    Entries(Vec<(Value<'a>, Value<'a>)>),
}

/// An element with its index, a key, or an entry.
struct Element<'a> {
    key: Option<Value<'a>>,
    index: usize,
    value: Value<'a>,
}

impl<'a> Elements<'a> {
    fn len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Keys(keys) => keys.len(),
            Self::Entries(entries) => entries.len(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = Element<'a>> + '_ {
        (0..self.len()).filter_map(|index| {
            let (key, value) = match self {
                Self::List(list) => (None, list.get(index)?),
                Self::Keys(keys) => (None, keys.get(index)?.clone()),
                Self::Entries(entries) => {
                    let (key, value) = entries.get(index)?;
                    (Some(key.clone()), value.clone())
                }
            };
            Some(Element { key, index, value })
        })
    }
}

impl<'a> Element<'a> {
    /// The index in a list, or the key in a map.
    fn key(&self) -> Value<'a> {
        self.key.clone().unwrap_or_else(|| Value::Int(i64::try_from(self.index).unwrap_or(i64::MAX)))
    }

    fn value(&self) -> Value<'a> {
        self.value.clone()
    }
}
