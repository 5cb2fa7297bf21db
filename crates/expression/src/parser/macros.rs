//! Macros: `has`, the comprehensions, `optMap` and `optFlatMap`.

use super::{Parser, operand::is_reserved};
use crate::{
    CompileError,
    functions::Style,
    lexer::LexerToken,
    syntax::{Comprehension, Loop, Node, What},
};

impl Parser {
    /// What is behind `receiver.name(`.
    pub(super) fn method(&mut self, at: usize, receiver: Node, name: &str) -> Result<Node, CompileError> {
        let of = match name {
            "all" => Some(Loop::All),
            "exists" => Some(Loop::Exists),
            "exists_one" | "existsOne" => Some(Loop::ExistsOne),
            "filter" => Some(Loop::Filter),
            "map" | "transformList" => Some(Loop::Map),
            "transformMap" => Some(Loop::MapValues),
            "transformMapEntry" => Some(Loop::MapEntries),
            _ => None,
        };
        if let Some(of) = of {
            return self.comprehension(at, of, receiver, name);
        }
        if matches!(name, "optMap" | "optFlatMap") {
            return self.optional_map(at, receiver, name);
        }
        let mut arguments = vec![receiver];
        self.arguments(")", &mut arguments)?;
        self.call(at, name, Style::Method, arguments)
    }

    /// A name and a comma, which declare a variable of a macro.
    fn variable(&mut self) -> Option<Box<str>> {
        match (self.peek(), self.peek_at(1)) {
            (LexerToken::Name(variable), LexerToken::Sign(",")) if !is_reserved(variable) => {
                let variable = variable.clone();
                self.next += 2;
                Some(variable)
            }
            _ => None,
        }
    }

    fn comprehension(&mut self, at: usize, of: Loop, range: Node, name: &str) -> Result<Node, CompileError> {
        // `list.map(x, y, …)` has a condition that is a name; these macros have a second variable there.
        let (may_be_pairs, must_be_pairs) = match name {
            "all" | "exists" | "existsOne" => (true, false),
            "transformList" | "transformMap" | "transformMapEntry" => (true, true),
            _ => (false, false),
        };
        let outer = self.variables.len();
        let first_at = self.at();
        let first = self.variable();
        let second = if may_be_pairs && first.is_some() { self.variable() } else { None };
        let pairs = second.is_some();
        let (Some(first), true) = (first, pairs || !must_be_pairs) else {
            let message = if must_be_pairs {
                format!("{name} takes two variable names and an expression, as in {name}(k, v, …)")
            } else {
                format!("{name} takes a variable name and an expression, as in {name}(x, …)")
            };
            return Err(CompileError::new(first_at, message));
        };
        if second.as_ref() == Some(&first) {
            return Err(CompileError::new(first_at, format!("both variables of {name} are called `{first}`")));
        }
        self.variables.push(first);
        self.variables.extend(second);
        let mut body = self.expression()?;
        let mut only = None;
        if matches!(of, Loop::Map | Loop::MapValues | Loop::MapEntries) && self.eat(",") {
            only = Some(body);
            body = self.expression()?;
        }
        self.variables.truncate(outer);
        self.expect(")")?;
        self.node(at, What::Loop(Box::new(Comprehension { of, pairs, range, only, body })))
    }

    fn optional_map(&mut self, at: usize, from: Node, name: &str) -> Result<Node, CompileError> {
        let Some(variable) = self.variable() else {
            let message = format!("{name} takes a variable name and an expression, as in {name}(x, …)");
            return Err(CompileError::new(self.at(), message));
        };
        self.variables.push(variable);
        let body = Box::new(self.expression()?);
        self.variables.pop();
        self.expect(")")?;
        self.node(at, What::OptionalMap { from: Box::new(from), body, flat: name == "optFlatMap" })
    }

    /// What is behind `has(`.
    pub(super) fn has(&mut self, at: usize) -> Result<Node, CompileError> {
        let inner = self.expression()?;
        self.expect(")")?;
        match inner.what {
            What::Select { from, field, optional: false } => self.node(at, What::Has { from, field }),
            _ => Err(CompileError::new(
                inner.at,
                "has() takes a field, as in has(payload.name); for other keys write \"the-key\" in payload",
            )),
        }
    }
}
