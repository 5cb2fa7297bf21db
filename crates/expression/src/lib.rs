//! Expressions in CEL, the Common Expression Language (<https://github.com/google/cel-spec>, the language of Kubernetes'
//! own validation rules). They filter the events of a subscription, transform them, and set their type and id.
//!
//! An expression is compiled once: its names are checked, and its types as far as they are known. Each evaluation ends
//! within a bounded time and memory, see [`EXPRESSION_STEPS`](grapnel_values::limits::EXPRESSION_STEPS), and reads only its
//! inputs.
//!
//! The language is that of the definition without messages and enumerations, with optional values and the extensions for
//! strings and math. JSON numbers are `int` if they are whole and fit, `uint` above that, and `double` otherwise. Keys of
//! maps keep their order.
//!
//! ```
//! use std::borrow::Cow;
//! use grapnel_expression::{ExpectedType, Expression, Inputs, PayloadInput, Scope};
//!
//! let large = Expression::compile("payload.amount > 100", Scope::Delivery, ExpectedType::Bool)?;
//! let order = serde_json::json!({ "amount": 250 });
//! let inputs = Inputs { payload: PayloadInput::Json(Cow::Borrowed(&order)), ..Inputs::default() };
//! assert_eq!(large.test(&inputs), Ok(true));
//!
//! let unknown = Expression::compile("paylod.amount", Scope::Delivery, ExpectedType::Json).err().unwrap();
//! assert_eq!((unknown.line, unknown.column), (1, 1));
//! # Ok::<(), grapnel_expression::ExpressionError>(())
//! ```

mod builtin;
mod check;
mod evaluate;
mod functions;
mod lexer;
pub mod limits;
mod machine;
mod operators;
mod parser;
mod pattern;
mod syntax;
#[cfg(test)]
mod tests;
mod time;
mod value;

use std::{borrow::Cow, fmt, io};

use grapnel_values::cost_budget::CostBudget;
use jiff::Timestamp;

use crate::{
    evaluate::Evaluator,
    machine::EvalError,
    parser::Uses,
    syntax::{Binding, Node},
    value::{BYTES_PER_STEP, Text, Value, ValueKind},
};

/// Which names an expression may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `event`, `headers` and `payload`: an event to deliver.
    Delivery,
    /// `headers` and `payload`: a request whose event type is not known yet.
    Request,
    /// `claims`: a verified JSON Web Token.
    Claims,
    /// `self`: a value that a rule of a Kubernetes schema is about, given as [`Inputs::payload`].
    Rule,
}

impl Scope {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Delivery => &["event", "headers", "payload"],
            Self::Request => &["headers", "payload"],
            Self::Claims => &["claims"],
            Self::Rule => &["self"],
        }
    }

    fn given(self, name: &str) -> Option<Binding> {
        self.names().contains(&name).then_some(match name {
            "event" => Binding::Event,
            "headers" => Binding::Headers,
            "payload" | "self" => Binding::Payload,
            _ => Binding::Claims,
        })
    }
}

/// The type that the result of an expression must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedType {
    /// A bool, for [`Expression::test`].
    Bool,
    /// A string, an integer or a bool, for [`Expression::text`].
    Text,
    /// Anything that JSON can write, for [`Expression::json`].
    Json,
}

/// An expression that can be evaluated.
pub struct Expression {
    source: Box<str>,
    scope: Scope,
    root: Node,
    uses: Uses,
}

/// An error of compiling or evaluating an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ExpressionError {
    /// The line, from 1.
    pub line: usize,
    /// The character of the line, from 1.
    pub column: usize,
    /// The description. It contains no value of the event.
    pub message: String,
}

/// An error at a byte of the source.
#[derive(Debug)]
struct CompileError {
    at: usize,
    message: String,
}

impl CompileError {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}

/// `event`, as expressions see it.
#[derive(Debug, Clone, Copy)]
pub struct EventInput<'a> {
    /// `event.id`.
    pub id: &'a str,
    /// `event.type`.
    pub kind: &'a str,
    /// `event.time`: when it was received.
    pub time: Timestamp,
    /// `event.endpoint`: the endpoint's name.
    pub endpoint: &'a str,
    /// `event.namespace`: the endpoint's namespace.
    pub namespace: &'a str,
}

impl<'a> EventInput<'a> {
    const FIELDS: &'static [(&'static str, ValueKind)] = &[
        ("id", ValueKind::Text),
        ("type", ValueKind::Text),
        ("time", ValueKind::Timestamp),
        ("endpoint", ValueKind::Text),
        ("namespace", ValueKind::Text),
    ];

    fn field(&self, name: &str) -> Option<Value<'a>> {
        let text = |text: &'a str| Some(Value::Text(Text::Borrowed(text)));
        match name {
            "id" => text(self.id),
            "type" => text(self.kind),
            "time" => Some(Value::Timestamp(self.time.into())),
            "endpoint" => text(self.endpoint),
            "namespace" => text(self.namespace),
            _ => None,
        }
    }
}

/// `payload`, as expressions see it.
#[derive(Debug, Clone, Default)]
pub enum PayloadInput<'a> {
    /// `null`.
    #[default]
    Nothing,
    /// JSON, or a form as an object of its fields.
    Json(Cow<'a, serde_json::Value>),
    /// Other text: a string.
    Text(Cow<'a, str>),
    /// Anything else: bytes.
    Bytes(Cow<'a, [u8]>),
}

/// The values of the variables. Those that the [`Scope`] does not have or the expression does not use may be left out: see
/// [`Expression::uses_headers`] and [`Expression::uses_payload`].
#[derive(Debug, Clone, Default)]
pub struct Inputs<'a> {
    /// `event`.
    pub event: Option<EventInput<'a>>,
    /// `headers`: lower-case names, each once, with its values joined by a comma and a space (RFC 9110, 5.3).
    pub headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// `payload`, or `self` of a rule.
    pub payload: PayloadInput<'a>,
    /// `claims`: a JSON object.
    pub claims: Option<&'a serde_json::Value>,
}

/// Names of headers that are compared in one step.
const COMPARED_PER_STEP: usize = 16;

impl Inputs<'_> {
    /// The cost of making the headers, in steps of an evaluation: each is searched for among those before it.
    fn steps(&self) -> u64 {
        let bytes: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let count = self.headers.len();
        (count * (1 + count / COMPARED_PER_STEP) + bytes / BYTES_PER_STEP) as u64
    }
}

impl Expression {
    /// Compiles an expression: its syntax, its names, and its types as far as they are known.
    ///
    /// # Errors
    ///
    /// Returns the first error with its line and column.
    pub fn compile(source: &str, scope: Scope, gives: ExpectedType) -> Result<Self, ExpressionError> {
        let located = |flaw: CompileError| locate(source, flaw.at, flaw.message);
        let (root, uses) = parser::parse(source, scope).map_err(located)?;
        let found = check::infer(&root, &mut Vec::new()).map_err(located)?;
        let fits = match gives {
            ExpectedType::Bool => found.may_be(&[ValueKind::Bool]),
            ExpectedType::Text => found.may_be(&[ValueKind::Text, ValueKind::Int, ValueKind::UInt, ValueKind::Bool]),
            ExpectedType::Json => true,
        };
        if !fits {
            let wanted = match gives {
                ExpectedType::Bool => "a bool",
                _ => "a string, an integer or a bool",
            };
            return Err(locate(source, root.start(), format!("it returns {}; {wanted} is required", found.a())));
        }
        Ok(Self { source: source.into(), scope, root, uses })
    }

    /// The source text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether [`Inputs::headers`] makes a difference.
    pub fn uses_headers(&self) -> bool {
        self.uses.headers
    }

    /// Whether [`Inputs::payload`] makes a difference.
    pub fn uses_payload(&self) -> bool {
        self.uses.payload
    }

    /// The first header that it looks up by a name with capitals. No header is found by it, because [`Inputs::headers`]
    /// have lower-case names.
    pub fn capital_header(&self) -> Option<&str> {
        self.uses.capital_header.as_deref()
    }

    /// Evaluates a condition.
    ///
    /// # Errors
    ///
    /// If it fails, exceeds the steps allowed, or its result is not a bool.
    pub fn test(&self, inputs: &Inputs<'_>) -> Result<bool, ExpressionError> {
        match self.evaluate(inputs)? {
            Value::Bool(flag) => Ok(flag),
            other => Err(self.unfit(&other, "a bool")),
        }
    }

    /// Evaluates to text: a string as it is, an integer or a bool in its text form.
    ///
    /// # Errors
    ///
    /// If it fails, exceeds the steps allowed, or its result has another type.
    pub fn text(&self, inputs: &Inputs<'_>) -> Result<String, ExpressionError> {
        self.text_within(inputs, &mut CostBudget::default())
    }

    /// As [`Expression::text`], with the steps that are left of a request's budget.
    ///
    /// # Errors
    ///
    /// As [`Expression::text`].
    pub fn text_within(&self, inputs: &Inputs<'_>, budget: &mut CostBudget) -> Result<String, ExpressionError> {
        let steps = &mut budget.expression;
        *steps = steps
            .checked_sub(inputs.steps())
            .ok_or_else(|| locate(&self.source, self.root.start(), machine::too_many_steps()))?;
        match self.evaluate_within(inputs, steps)? {
            Value::Text(text) => Ok(text.to_string()),
            Value::Int(number) => Ok(number.to_string()),
            Value::UInt(number) => Ok(number.to_string()),
            Value::Bool(flag) => Ok(flag.to_string()),
            other => Err(self.unfit(&other, "a string, an integer or a bool")),
        }
    }

    /// Evaluates to JSON of at most `max` bytes: bytes as base64, timestamps as in RFC 3339, durations in seconds with an `s`.
    ///
    /// # Errors
    ///
    /// If it fails, exceeds the steps allowed, or its result is too long or has no JSON form.
    pub fn json(&self, inputs: &Inputs<'_>, max: usize) -> Result<Vec<u8>, ExpressionError> {
        let value = self.evaluate(inputs)?;
        let mut written = Bounded { bytes: Vec::new(), max };
        serde_json::to_writer(&mut written, &value).map_err(|error| {
            let message = if error.is_io() {
                format!("the result exceeds {max} bytes of JSON")
            } else {
                "the result has a number that is infinite or NaN, which JSON does not support".into()
            };
            locate(&self.source, self.root.start(), message)
        })?;
        Ok(written.bytes)
    }

    fn evaluate<'a>(&'a self, inputs: &'a Inputs<'a>) -> Result<Value<'a>, ExpressionError> {
        self.evaluate_within(inputs, &mut CostBudget::default().expression)
    }

    fn evaluate_within<'a>(&'a self, inputs: &'a Inputs<'a>, steps: &mut u64) -> Result<Value<'a>, ExpressionError> {
        let mut evaluator = Evaluator::new(inputs, *steps);
        let value = evaluator.value(&self.root);
        *steps = evaluator.left();
        value.map_err(|EvalError { at, message, .. }| locate(&self.source, at, message.into_owned()))
    }

    fn unfit(&self, value: &Value<'_>, wanted: &str) -> ExpressionError {
        let message = format!("it returns {}; {wanted} is required", value.kind().a());
        locate(&self.source, self.root.start(), message)
    }
}

/// Expressions are equal if their source and their scope are.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.scope == other.scope
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

/// Line and column of a byte.
fn locate(source: &str, at: usize, message: String) -> ExpressionError {
    let before = source.get(..at).unwrap_or(source);
    let line = 1 + before.matches('\n').count();
    let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
    ExpressionError { line, column, message }
}

/// A writer that fails after `max` bytes.
struct Bounded {
    bytes: Vec<u8>,
    max: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.max.saturating_sub(self.bytes.len()) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
