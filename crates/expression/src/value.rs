//! Values while an expression is evaluated: cheap to clone, borrowed from the event and from the expression where they
//! can be.

mod json;

use std::{borrow::Cow, cmp::Ordering, ops::Deref, rc::Rc};

use jiff::SignedDuration;

pub(super) use self::json::Seconds;
use super::{EventInput, time::CelTimestamp};

/// Bytes that are read or copied in one step.
pub(super) const BYTES_PER_STEP: usize = 16;

/// Types of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueKind {
    Null,
    Bool,
    Int,
    UInt,
    Double,
    Text,
    Bytes,
    Timestamp,
    Duration,
    List,
    Map,
    Type,
    Optional,
}

impl ValueKind {
    /// Its name in a sentence: `a string`.
    pub(super) fn a(self) -> String {
        let article = if self == Self::Int { "an" } else { "a" };
        format!("{article} {}", self.name())
    }

    /// Its name in a message.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::UInt => "uint",
            Self::Double => "double",
            Self::Text => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
            Self::List => "list",
            Self::Map => "map",
            Self::Type => "type",
            Self::Optional => "optional",
        }
    }

    /// The name of the type in the language, as in `type(x) == google.protobuf.Timestamp`.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Duration => "google.protobuf.Duration",
            Self::Optional => "optional_type",
            other => other.name(),
        }
    }

    /// The type of a [`ValueKind::type_name`].
    pub(super) fn named(name: &str) -> Option<Self> {
        const NAMED: [ValueKind; 13] = [
            ValueKind::Null,
            ValueKind::Bool,
            ValueKind::Int,
            ValueKind::UInt,
            ValueKind::Double,
            ValueKind::Text,
            ValueKind::Bytes,
            ValueKind::List,
            ValueKind::Map,
            ValueKind::Type,
            ValueKind::Timestamp,
            ValueKind::Duration,
            ValueKind::Optional,
        ];
        NAMED.into_iter().find(|kind| kind.type_name() == name)
    }
}

#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(Text<'a>),
    Bytes(Blob<'a>),
    Timestamp(CelTimestamp),
    Duration(SignedDuration),
    List(List<'a>),
    Map(Map<'a>),
    Type(ValueKind),
    Optional(Option<Rc<Value<'a>>>),
}

#[derive(Debug, Clone)]
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Shared(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Blob<'a> {
    Borrowed(&'a [u8]),
    Shared(Rc<[u8]>),
}

impl Deref for Blob<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum List<'a> {
    Json(&'a [serde_json::Value]),
    Shared(Rc<[Value<'a>]>),
}

impl<'a> List<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(elements) => elements.len(),
            Self::Shared(elements) => elements.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Json(elements) => elements.get(index).map(Value::json),
            Self::Shared(elements) => elements.get(index).cloned(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

#[derive(Debug, Clone)]
pub(super) enum Map<'a> {
    Json(&'a serde_json::Map<String, serde_json::Value>),
    /// Names and values of headers; every name once.
    Headers(&'a [(Cow<'a, str>, Cow<'a, str>)]),
    Event(&'a EventInput<'a>),
    /// Of a map literal: every key once.
    Shared(Rc<[(Value<'a>, Value<'a>)]>),
}

impl<'a> Map<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(entries) => entries.len(),
            Self::Headers(headers) => headers.len(),
            Self::Event(_) => EventInput::FIELDS.len(),
            Self::Shared(entries) => entries.len(),
        }
    }

    /// How many entries a search looks at.
    fn breadth(&self) -> usize {
        match self {
            Self::Json(_) | Self::Event(_) => 1,
            Self::Headers(_) | Self::Shared(_) => self.len(),
        }
    }

    /// Steps of a search for a name of so many bytes, which is hashed, or compared with those of the same length.
    pub(super) fn search(&self, bytes: usize) -> usize {
        self.breadth().saturating_mul(1 + bytes / BYTES_PER_STEP)
    }

    /// Steps of a search for a key.
    pub(super) fn search_key(&self, key: &Value<'_>) -> usize {
        self.search(key.length())
    }

    pub(super) fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Json(entries) => entries.get(name).map(Value::json),
            Self::Headers(headers) => {
                let (_, value) = headers.iter().find(|(known, _)| *known == name)?;
                Some(Value::Text(Text::Borrowed(value)))
            }
            Self::Event(event) => event.field(name),
            Self::Shared(entries) => {
                let holds = |key: &Value<'_>| matches!(key, Value::Text(key) if **key == *name);
                entries.iter().find(|(key, _)| holds(key)).map(|(_, value)| value.clone())
            }
        }
    }

    pub(super) fn get(&self, key: &Value<'a>) -> Option<Value<'a>> {
        match (key, self) {
            (Value::Text(name), _) => self.field(name),
            (_, Self::Shared(entries)) => {
                entries.iter().find(|(known, _)| known.same_key(key)).map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    pub(super) fn entries(&self) -> Vec<(Value<'a>, Value<'a>)> {
        let text = |name: &'a str| Value::Text(Text::Borrowed(name));
        match self {
            Self::Json(entries) => entries.iter().map(|(name, value)| (text(name), Value::json(value))).collect(),
            Self::Headers(headers) => headers.iter().map(|(name, value)| (text(name), text(value))).collect(),
            Self::Event(event) => {
                EventInput::FIELDS.iter().filter_map(|(name, _)| Some((text(name), event.field(name)?))).collect()
            }
            Self::Shared(entries) => entries.to_vec(),
        }
    }

    pub(super) fn keys(&self) -> Vec<Value<'a>> {
        let text = |name: &'a str| Value::Text(Text::Borrowed(name));
        match self {
            Self::Json(entries) => entries.keys().map(|name| text(name)).collect(),
            Self::Headers(headers) => headers.iter().map(|(name, _)| text(name)).collect(),
            Self::Event(_) => EventInput::FIELDS.iter().map(|(name, _)| text(name)).collect(),
            Self::Shared(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
        }
    }
}

impl<'a> Value<'a> {
    pub(super) fn json(value: &'a serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match value {
            Json::Null => Self::Null,
            Json::Bool(flag) => Self::Bool(*flag),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Self::Int(number),
                (None, Some(number)) => Self::UInt(number),
                (None, None) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::Text(Text::Borrowed(text)),
            Json::Array(elements) => Self::List(List::Json(elements)),
            Json::Object(entries) => Self::Map(Map::Json(entries)),
        }
    }

    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(Text::Shared(text.into()))
    }

    pub(super) fn optional(value: Option<Self>) -> Self {
        Self::Optional(value.map(Rc::new))
    }

    pub(super) fn list(elements: Vec<Self>) -> Self {
        Self::List(List::Shared(elements.into()))
    }

    pub(super) fn kind(&self) -> ValueKind {
        match self {
            Self::Null => ValueKind::Null,
            Self::Bool(_) => ValueKind::Bool,
            Self::Int(_) => ValueKind::Int,
            Self::UInt(_) => ValueKind::UInt,
            Self::Double(_) => ValueKind::Double,
            Self::Text(_) => ValueKind::Text,
            Self::Bytes(_) => ValueKind::Bytes,
            Self::Timestamp(_) => ValueKind::Timestamp,
            Self::Duration(_) => ValueKind::Duration,
            Self::List(_) => ValueKind::List,
            Self::Map(_) => ValueKind::Map,
            Self::Type(_) => ValueKind::Type,
            Self::Optional(_) => ValueKind::Optional,
        }
    }

    /// Whether it is the zero value of its type: `null`, false, 0, or empty.
    pub(super) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(flag) => !flag,
            Self::Int(number) => *number == 0,
            Self::UInt(number) => *number == 0,
            Self::Double(number) => *number == 0.0,
            Self::Text(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Timestamp(time) => time.is_zero(),
            Self::Duration(duration) => duration.is_zero(),
            Self::List(list) => list.len() == 0,
            Self::Map(map) => map.len() == 0,
            Self::Type(_) | Self::Optional(_) => false,
        }
    }

    /// Bytes that comparing it with another value may look at.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// Whether it may be the key of a map.
    pub(super) fn is_key(&self) -> bool {
        matches!(self, Self::Bool(_) | Self::Int(_) | Self::UInt(_) | Self::Text(_))
    }

    pub(super) fn same_key(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => **a == **b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }

    /// The order of two scalars; numbers of different sorts compare by their value. `None` when they have none.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::UInt(a), Self::UInt(b)) => Some(a.cmp(b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(b),
            (Self::Text(a), Self::Text(b)) => Some((**a).cmp(&**b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some((**a).cmp(&**b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Double(double), whole) => Some(against(*double, whole.whole()?)?.reverse()),
            (whole, Self::Double(double)) => against(*double, whole.whole()?),
            (a, b) => Some(a.whole()?.cmp(&b.whole()?)),
        }
    }

    fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(i128::from(*number)),
            Self::UInt(number) => Some(i128::from(*number)),
            _ => None,
        }
    }
}

/// The order of a whole number of at most 64 bits against a double, without rounding either.
#[allow(clippy::cast_possible_truncation)]
fn against(double: f64, whole: i128) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // Beyond this every whole number is smaller, or greater, than the double.
    const BOUND: f64 = 3.0e19;
    let floor = double.clamp(-BOUND, BOUND).floor();
    Some(whole.cmp(&(floor as i128)).then(if double > floor { Ordering::Less } else { Ordering::Equal }))
}
