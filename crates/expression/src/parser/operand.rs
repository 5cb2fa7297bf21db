//! Operands: literals, names and calls, with the fields, indices and methods behind them.

use std::sync::Arc;

use super::{Parser, describe};
use crate::{
    CompileError,
    functions::{Function, Style},
    lexer::LexerToken,
    limits::EXPRESSION_PATTERNS_BYTES,
    pattern::{self, Pattern},
    syntax::{Binding, Element, Literal, MapEntry, Node, What},
    value::ValueKind,
};

/// Words that cannot be variables (CEL language definition).
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

impl Parser {
    pub(super) fn member(&mut self) -> Result<Node, CompileError> {
        let node = self.primary()?;
        self.member_of(node)
    }

    /// Fields, indices and methods behind a value.
    pub(super) fn member_of(&mut self, mut node: Node) -> Result<Node, CompileError> {
        loop {
            let at = self.at();
            node = if self.eat(".") {
                let (at, name) = self.field()?;
                if self.eat("(") {
                    self.method(at, node, &name)?
                } else {
                    self.uses.lookup(&node, &name);
                    self.node(at, What::Select { from: Box::new(node), field: name, optional: false })?
                }
            } else if self.eat(".?") {
                let (at, name) = self.field()?;
                self.uses.lookup(&node, &name);
                self.node(at, What::Select { from: Box::new(node), field: name, optional: true })?
            } else if let Some(optional) = self.bracket() {
                let optional = optional || self.eat("?");
                let index = Box::new(self.expression()?);
                self.expect("]")?;
                self.uses.index(&node, &index);
                self.node(at, What::Index { from: Box::new(node), index, optional })?
            } else {
                return Ok(node);
            };
        }
    }

    /// `[`, or `[?` as one sign: whether there is a `?`. `None` if there is neither.
    fn bracket(&mut self) -> Option<bool> {
        if self.eat("[?") {
            return Some(true);
        }
        self.eat("[").then_some(false)
    }

    fn field(&mut self) -> Result<(usize, Box<str>), CompileError> {
        let at = self.at();
        match self.peek() {
            LexerToken::Name(name) if !matches!(&**name, "true" | "false" | "null" | "in") => {
                let name = name.clone();
                self.next += 1;
                Ok((at, name))
            }
            // It cannot be the name of a method.
            LexerToken::Quoted(name) if self.peek_at(1) != &LexerToken::Sign("(") => {
                let name = name.clone();
                self.next += 1;
                Ok((at, name))
            }
            other => Err(CompileError::new(
                at,
                format!("expected a field name, found {}; write other keys as [\"…\"]", describe(other)),
            )),
        }
    }

    /// Expressions up to the closing sign; a comma may stand before it.
    pub(super) fn arguments(&mut self, close: &str, arguments: &mut Vec<Node>) -> Result<(), CompileError> {
        loop {
            if self.eat(close) {
                return Ok(());
            }
            arguments.push(self.expression()?);
            if !self.eat(",") {
                return self.expect(close);
            }
        }
    }

    pub(super) fn call(
        &mut self,
        at: usize,
        name: &str,
        style: Style,
        mut arguments: Vec<Node>,
    ) -> Result<Node, CompileError> {
        let function =
            Function::find(name, style, arguments.len()).map_err(|message| CompileError::new(at, message))?;
        if function.is_variadic() && arguments.len() > 1 {
            let elements = arguments.into_iter().map(|value| Element { optional: false, value }).collect();
            arguments = vec![self.node(at, What::List(elements))?];
        }
        let pattern = match (function, arguments.get(1)) {
            (Function::Matches | Function::Find, Some(Node { at, what: What::Literal(Literal::Text(text)), .. })) => {
                Some(self.pattern(*at, text)?)
            }
            _ => None,
        };
        self.node(at, What::Call { function, arguments, pattern })
    }

    /// Compiles a literal pattern. All of an expression are bounded together, for they are kept with it.
    fn pattern(&mut self, at: usize, source: &str) -> Result<Arc<Pattern>, CompileError> {
        let pattern = pattern::intern(source).map_err(|error| CompileError::new(at, error.to_string()))?;
        if !self.patterns.iter().any(|known| Arc::ptr_eq(known, &pattern)) {
            self.patterns.push(Arc::clone(&pattern));
            let bytes: usize = self.patterns.iter().map(|pattern| pattern.size()).sum();
            if bytes > EXPRESSION_PATTERNS_BYTES {
                let allowed = EXPRESSION_PATTERNS_BYTES / 1024;
                let message = format!(
                    "too large: the patterns of one expression need more than the {allowed} KiB allowed when they are \
                     compiled; use fewer or smaller ones, or contains, startsWith and endsWith"
                );
                return Err(CompileError::new(at, message));
            }
        }
        Ok(pattern)
    }

    fn primary(&mut self) -> Result<Node, CompileError> {
        let at = self.at();
        let literal = match self.peek().clone() {
            LexerToken::Int(number) => Literal::Int(
                i64::try_from(number)
                    .map_err(|_| CompileError::new(at, "this number is too large; integers have 64 bits"))?,
            ),
            LexerToken::UInt(number) => Literal::UInt(number),
            LexerToken::Double(number) => Literal::Double(number),
            LexerToken::Text(text) => Literal::Text(text),
            LexerToken::Bytes(bytes) => Literal::Bytes(bytes),
            LexerToken::Name(name) => return self.name(at, &name),
            LexerToken::Sign("(") => {
                self.next += 1;
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            LexerToken::Sign("[" | "[?") => {
                let optional = self.bracket().unwrap_or_default();
                return self.list(at, optional);
            }
            LexerToken::Sign(".") => {
                self.next += 1;
                return self.global(at);
            }
            LexerToken::Sign("{") => {
                self.next += 1;
                return self.map(at);
            }
            LexerToken::End if self.next == 0 => return Err(CompileError::new(at, "it is empty")),
            other => return Err(CompileError::new(at, format!("expected a value, found {}", describe(&other)))),
        };
        self.next += 1;
        self.node(at, What::Literal(literal))
    }

    /// The elements of a list, of which the first may be optional already by `[?`.
    fn list(&mut self, at: usize, mut optional: bool) -> Result<Node, CompileError> {
        let mut elements = Vec::new();
        while optional || !self.eat("]") {
            optional |= self.eat("?");
            elements.push(Element { optional, value: self.expression()? });
            optional = false;
            if !self.eat(",") {
                self.expect("]")?;
                break;
            }
        }
        self.node(at, What::List(elements))
    }

    fn map(&mut self, at: usize) -> Result<Node, CompileError> {
        let mut entries = Vec::new();
        while !self.eat("}") {
            let optional = self.eat("?");
            let key = self.expression()?;
            self.expect(":")?;
            entries.push(MapEntry { optional, key, value: self.expression()? });
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        self.node(at, What::Map(entries))
    }

    fn name(&mut self, at: usize, name: &str) -> Result<Node, CompileError> {
        self.next += 1;
        let word = match name {
            "true" => Some(Literal::Bool(true)),
            "false" => Some(Literal::Bool(false)),
            "null" => Some(Literal::Null),
            _ => None,
        };
        if let Some(literal) = word {
            return self.node(at, What::Literal(literal));
        }
        if is_reserved(name) {
            return Err(CompileError::new(at, format!("`{name}` is a reserved word of the language")));
        }
        if let Some(place) = self.variables.iter().rposition(|variable| &**variable == name) {
            return self.node(at, What::Local(place));
        }
        self.resolve(at, name)
    }

    /// `.name`: a name of the scope, whatever the variables of the macros around it are.
    fn global(&mut self, at: usize) -> Result<Node, CompileError> {
        match self.peek().clone() {
            LexerToken::Name(name) if !is_reserved(&name) => {
                self.next += 1;
                self.resolve(at, &name)
            }
            other => Err(CompileError::new(self.at(), format!("expected a name, found {}", describe(&other)))),
        }
    }

    /// A name that is not a variable of a macro.
    fn resolve(&mut self, at: usize, name: &str) -> Result<Node, CompileError> {
        if self.eat("(") {
            return if name == "has" { self.has(at) } else { self.function(at, name) };
        }
        if let Some(given) = self.scope.given(name) {
            match given {
                Binding::Headers => self.uses.headers = true,
                Binding::Payload => self.uses.payload = true,
                Binding::Event | Binding::Claims => {}
            }
            return self.node(at, What::Binding(given));
        }
        // `base64.encode(…)`: a name in front of a function's.
        if let (LexerToken::Sign("."), LexerToken::Name(last), LexerToken::Sign("(")) =
            (self.peek(), self.peek_at(1), self.peek_at(2))
        {
            let qualified = format!("{name}.{last}");
            if Function::is_known(&qualified) {
                self.next += 3;
                return self.function(at, &qualified);
            }
        }
        // `google.protobuf.Timestamp`: the name of a type.
        let mut qualified = name.to_owned();
        let mut ahead = 0;
        while let (LexerToken::Sign("."), LexerToken::Name(part)) = (self.peek_at(ahead), self.peek_at(ahead + 1)) {
            qualified = format!("{qualified}.{part}");
            ahead += 2;
            if let (4, Some(kind)) = (ahead, ValueKind::named(&qualified)) {
                self.next += ahead;
                return self.node(at, What::Literal(Literal::Type(kind)));
            }
            if ahead == 4 {
                break;
            }
        }
        match ValueKind::named(name) {
            Some(kind) => self.node(at, What::Literal(Literal::Type(kind))),
            None => {
                let known = self.scope.names().join(", ");
                Err(CompileError::new(at, format!("unknown variable `{name}`; known: {known}")))
            }
        }
    }

    fn function(&mut self, at: usize, name: &str) -> Result<Node, CompileError> {
        let mut arguments = Vec::new();
        self.arguments(")", &mut arguments)?;
        self.call(at, name, Style::Function, arguments)
    }
}

pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || matches!(name, "true" | "false" | "null")
}
