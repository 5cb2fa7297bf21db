//! The syntax tree. Names are resolved to variables of the scope, to variables of macros, to types or to functions.

use std::sync::Arc;

use super::{
    functions::Function,
    pattern::Pattern,
    value::{Blob, Text, Value, ValueKind},
};

/// A part of an expression.
#[derive(Debug)]
pub(super) struct Node {
    /// The byte of the source at which it is reported.
    pub(super) at: usize,
    pub(super) what: What,
    /// Levels of the tree below and including this one.
    pub(super) depth: usize,
}

#[derive(Debug)]
pub(super) enum What {
    Literal(Literal),
    Binding(Binding),
    /// The variable of a macro, by its place among those of the macros around it, outermost first.
    Local(usize),
    /// `from.field`, or `from.?field`.
    Select {
        from: Box<Node>,
        field: Box<str>,
        optional: bool,
    },
    /// `has(from.field)`.
    Has {
        from: Box<Node>,
        field: Box<str>,
    },
    /// `from[index]`, or `from[?index]`.
    Index {
        from: Box<Node>,
        index: Box<Node>,
        optional: bool,
    },
    List(Vec<Element>),
    Map(Vec<MapEntry>),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// `a && b && c`.
    All(Vec<Node>),
    /// `a || b || c`.
    Any(Vec<Node>),
    /// `condition ? yes : no`.
    Choice {
        condition: Box<Node>,
        yes: Box<Node>,
        no: Box<Node>,
    },
    /// `a + b - c`: operators of one rank, from left to right.
    Arithmetic(Box<Node>, Vec<(Arithmetic, usize, Node)>),
    Compare(Comparison, Box<Node>, Box<Node>),
    /// A function; the receiver, if there is one, is the first argument. A pattern that is a literal is compiled once.
    Call {
        function: Function,
        arguments: Vec<Node>,
        pattern: Option<Arc<Pattern>>,
    },
    Loop(Box<Comprehension>),
    /// `from.optMap(x, body)`, or `from.optFlatMap(x, body)`.
    OptionalMap {
        from: Box<Node>,
        body: Box<Node>,
        flat: bool,
    },
}

/// A macro over a list or a map: `range.map(x, body)`, `range.map(x, only, body)`, `range.all(k, v, body)`.
#[derive(Debug)]
pub(super) struct Comprehension {
    pub(super) of: Loop,
    /// Whether it has two variables: the index and the element of a list, or the key and the value of a map. One variable is
    /// the element or the key.
    pub(super) pairs: bool,
    pub(super) range: Node,
    pub(super) only: Option<Node>,
    pub(super) body: Node,
}

/// An element of a list: `value`, or `?value`, which is left out if the optional value is empty.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) optional: bool,
    pub(super) value: Node,
}

/// An entry of a map: `key: value`, or `?key: value`, which is left out if the optional value is empty.
#[derive(Debug)]
pub(super) struct MapEntry {
    pub(super) optional: bool,
    pub(super) key: Node,
    pub(super) value: Node,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    Type(ValueKind),
}

impl Literal {
    /// The value, which borrows from the tree.
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Int(number) => Value::Int(*number),
            Self::UInt(number) => Value::UInt(*number),
            Self::Double(number) => Value::Double(*number),
            Self::Text(text) => Value::Text(Text::Borrowed(text)),
            Self::Bytes(bytes) => Value::Bytes(Blob::Borrowed(bytes)),
            Self::Type(kind) => Value::Type(*kind),
        }
    }
}

/// A variable of a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    Event,
    Headers,
    Payload,
    Claims,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Arithmetic {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
}

impl Comparison {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
            Self::In => "in",
        }
    }
}

/// The macros that iterate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loop {
    All,
    Exists,
    ExistsOne,
    Filter,
    /// `map` and `transformList`.
    Map,
    /// `transformMap`.
    MapValues,
    /// `transformMapEntry`.
    MapEntries,
}

impl Node {
    /// The byte at which it begins: operators are reported where they stand, behind their first part.
    pub(super) fn start(&self) -> usize {
        match &self.what {
            What::Select { from, .. } | What::Index { from, .. } => from.start(),
            What::All(parts) | What::Any(parts) => parts.first().map_or(self.at, Self::start),
            What::Choice { condition, .. } => condition.start(),
            What::Arithmetic(first, _) | What::Compare(_, first, _) => first.start(),
            What::Loop(comprehension) => comprehension.range.start(),
            What::OptionalMap { from, .. } => from.start(),
            What::Call { arguments, .. } => arguments.first().map_or(self.at, |first| self.at.min(first.start())),
            _ => self.at,
        }
    }
}
