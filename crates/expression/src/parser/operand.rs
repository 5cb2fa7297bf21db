//! Operands: literals, names, calls and macros, with the fields, indices and methods behind them.

use super::{Parser, describe};
use crate::{
    CompileError,
    functions::{Function, Style},
    lexer::Token,
    pattern::{self, Pattern},
    syntax::{Binding, Literal, Loop, Node, What},
    value::Kind,
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
                    self.node(at, What::Select { from: Box::new(node), field: name, optional: false })?
                }
            } else if self.eat(".?") {
                let (at, name) = self.field()?;
                self.node(at, What::Select { from: Box::new(node), field: name, optional: true })?
            } else if self.eat("[") {
                let index = Box::new(self.expression()?);
                self.expect("]")?;
                self.node(at, What::Index { from: Box::new(node), index, optional: false })?
            } else if self.eat("[?") {
                let index = Box::new(self.expression()?);
                self.expect("]")?;
                self.node(at, What::Index { from: Box::new(node), index, optional: true })?
            } else {
                return Ok(node);
            };
        }
    }

    fn field(&mut self) -> Result<(usize, Box<str>), CompileError> {
        let at = self.at();
        match self.peek() {
            Token::Name(name) if !matches!(&**name, "true" | "false" | "null" | "in") => {
                let name = name.clone();
                self.next += 1;
                Ok((at, name))
            }
            other => Err(CompileError::new(
                at,
                format!("the name of a field must stand here, not {}; other keys are written [\"…\"]", describe(other)),
            )),
        }
    }

    /// What is behind `receiver.name(`.
    fn method(&mut self, at: usize, receiver: Node, name: &str) -> Result<Node, CompileError> {
        let of = match name {
            "all" => Some(Loop::All),
            "exists" => Some(Loop::Exists),
            "exists_one" | "existsOne" => Some(Loop::ExistsOne),
            "filter" => Some(Loop::Filter),
            "map" => Some(Loop::Map),
            _ => None,
        };
        if let Some(of) = of {
            return self.loops(at, of, receiver, name);
        }
        let mut arguments = vec![receiver];
        self.arguments(")", &mut arguments)?;
        self.call(at, name, Style::Method, arguments)
    }

    fn loops(&mut self, at: usize, of: Loop, range: Node, name: &str) -> Result<Node, CompileError> {
        let variable = match (self.peek(), self.peek_at(1)) {
            (Token::Name(variable), Token::Sign(",")) if !is_reserved(variable) => variable.clone(),
            _ => {
                let message = format!("{name} takes the name of a variable and what is said of it, as in {name}(x, …)");
                return Err(CompileError::new(self.at(), message));
            }
        };
        self.next += 2;
        self.variables.push(variable);
        let mut body = self.expression()?;
        let mut only = None;
        if of == Loop::Map && self.eat(",") {
            only = Some(Box::new(body));
            body = self.expression()?;
        }
        self.variables.pop();
        self.expect(")")?;
        self.node(at, What::Loop { of, range: Box::new(range), only, body: Box::new(body) })
    }

    /// Expressions up to the closing sign; a comma may stand before it.
    fn arguments(&mut self, close: &str, arguments: &mut Vec<Node>) -> Result<(), CompileError> {
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

    fn call(&mut self, at: usize, name: &str, style: Style, arguments: Vec<Node>) -> Result<Node, CompileError> {
        let function =
            Function::find(name, style, arguments.len()).map_err(|message| CompileError::new(at, message))?;
        let compiled = match (function, arguments.get(1)) {
            (Function::Matches, Some(Node { at, what: What::Literal(Literal::Text(text)), .. })) => {
                let free = |_| Ok::<_, CompileError>(());
                let pattern =
                    Pattern::compile(text, free)?.ok_or_else(|| CompileError::new(*at, pattern::UNREADABLE))?;
                Some(Box::new(pattern))
            }
            _ => None,
        };
        self.node(at, What::Call { function, arguments, pattern: compiled })
    }

    fn primary(&mut self) -> Result<Node, CompileError> {
        let at = self.at();
        let literal = match self.peek().clone() {
            Token::Int(number) => Literal::Int(
                i64::try_from(number)
                    .map_err(|_| CompileError::new(at, "this number is too large; integers have 64 bits"))?,
            ),
            Token::UInt(number) => Literal::UInt(number),
            Token::Double(number) => Literal::Double(number),
            Token::Text(text) => Literal::Text(text),
            Token::Bytes(bytes) => Literal::Bytes(bytes),
            Token::Name(name) => return self.name(at, &name),
            Token::Sign("(") => {
                self.next += 1;
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Sign("[") => {
                self.next += 1;
                let mut elements = Vec::new();
                self.arguments("]", &mut elements)?;
                return self.node(at, What::List(elements));
            }
            Token::Sign("{") => {
                self.next += 1;
                return self.map(at);
            }
            Token::End if self.next == 0 => return Err(CompileError::new(at, "it is empty")),
            other => return Err(CompileError::new(at, format!("a value must stand here, not {}", describe(&other)))),
        };
        self.next += 1;
        self.node(at, What::Literal(literal))
    }

    fn map(&mut self, at: usize) -> Result<Node, CompileError> {
        let mut entries = Vec::new();
        loop {
            if self.eat("}") {
                break;
            }
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?));
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
        if let (Token::Sign("."), Token::Name(last), Token::Sign("(")) = (self.peek(), self.peek_at(1), self.peek_at(2))
        {
            let qualified = format!("{name}.{last}");
            if Function::is_known(&qualified) {
                self.next += 3;
                return self.function(at, &qualified);
            }
        }
        match Kind::named(name) {
            Some(kind) => self.node(at, What::Literal(Literal::Type(kind))),
            None => {
                let known = self.scope.names().join(", ");
                Err(CompileError::new(at, format!("there is no variable `{name}`; there are {known}")))
            }
        }
    }

    fn function(&mut self, at: usize, name: &str) -> Result<Node, CompileError> {
        let mut arguments = Vec::new();
        self.arguments(")", &mut arguments)?;
        self.call(at, name, Style::Function, arguments)
    }

    fn has(&mut self, at: usize) -> Result<Node, CompileError> {
        let inner = self.expression()?;
        self.expect(")")?;
        match inner.what {
            What::Select { from, field, optional: false } => self.node(at, What::Has { from, field }),
            _ => Err(CompileError::new(
                inner.at,
                "has() asks for a field, as in has(payload.name); for other keys write \"the-key\" in payload",
            )),
        }
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || matches!(name, "true" | "false" | "null")
}
