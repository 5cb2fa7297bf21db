//! Tokens to a tree (CEL language definition, "Syntax" and "Macros").

mod macros;
mod operand;

use std::sync::Arc;

use super::{
    CompileError, Scope,
    lexer::{LexerToken, tokens},
    pattern::Pattern,
    syntax::{Arithmetic, Binding, Comparison, Comprehension, Literal, Node, What},
};
use crate::limits::{EXPRESSION_BYTES, EXPRESSION_DEPTH};

/// The variables that an expression uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) headers: bool,
    pub(super) payload: bool,
    /// The first header that is looked up by a name with capitals.
    pub(super) capital_header: Option<Box<str>>,
}

impl Uses {
    /// Notes that the value of `from` with this name is looked up.
    fn lookup(&mut self, from: &Node, name: &str) {
        if matches!(from.what, What::Binding(Binding::Headers)) && name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.capital_header.get_or_insert_with(|| name.into());
        }
    }

    /// Notes that the value of `from` with this index is looked up.
    fn index(&mut self, from: &Node, index: &Node) {
        if let What::Literal(Literal::Text(name)) = &index.what {
            self.lookup(from, name);
        }
    }
}

/// Reads an expression of at most [`EXPRESSION_BYTES`] and [`EXPRESSION_DEPTH`].
pub(super) fn parse(source: &str, scope: Scope) -> Result<(Node, Uses), CompileError> {
    if source.len() > EXPRESSION_BYTES {
        let length = source.len();
        return Err(CompileError::new(0, format!("it has {length} bytes, more than the {EXPRESSION_BYTES} allowed")));
    }
    parse_with(source, scope, Vec::new())
}

/// As [`parse`], with variables in addition to those of the scope.
pub(super) fn parse_with(source: &str, scope: Scope, variables: Vec<Box<str>>) -> Result<(Node, Uses), CompileError> {
    let mut parser = Parser {
        tokens: tokens(source)?,
        next: 0,
        scope,
        variables,
        open: 0,
        uses: Uses::default(),
        patterns: Vec::new(),
    };
    let node = parser.expression()?;
    match parser.peek() {
        LexerToken::End => Ok((node, parser.uses)),
        other => Err(CompileError::new(parser.at(), unexpected(other))),
    }
}

/// What is wrong with a token behind a complete expression.
fn unexpected(token: &LexerToken) -> String {
    let operator = match token {
        LexerToken::Name(name) if &**name == "and" => Some("&&"),
        LexerToken::Name(name) if &**name == "or" => Some("||"),
        _ => None,
    };
    match operator {
        Some(operator) => format!("{} is not an operator; use `{operator}`", describe(token)),
        None => format!("{} is not allowed here", describe(token)),
    }
}

struct Parser {
    tokens: Vec<(usize, LexerToken)>,
    next: usize,
    scope: Scope,
    /// Variables of the enclosing macros, outermost first.
    variables: Vec<Box<str>>,
    /// Depth of the expressions that are being parsed.
    open: usize,
    uses: Uses,
    /// Its literal patterns, each once.
    patterns: Vec<Arc<Pattern>>,
}

fn describe(token: &LexerToken) -> String {
    match token {
        LexerToken::Name(name) | LexerToken::Quoted(name) => format!("`{name}`"),
        LexerToken::Int(number) => format!("`{number}`"),
        LexerToken::UInt(number) => format!("`{number}u`"),
        LexerToken::Double(number) => format!("`{number}`"),
        LexerToken::Text(_) | LexerToken::Bytes(_) => "a string".into(),
        LexerToken::Sign(sign) => format!("`{sign}`"),
        LexerToken::End => "the end".into(),
    }
}

impl Parser {
    fn peek(&self) -> &LexerToken {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &LexerToken {
        self.tokens.get(self.next + ahead).map_or(&LexerToken::End, |(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |(at, _)| *at)
    }

    fn eat(&mut self, sign: &str) -> bool {
        let there = matches!(self.peek(), LexerToken::Sign(found) if *found == sign);
        self.next += usize::from(there);
        there
    }

    fn expect(&mut self, sign: &str) -> Result<(), CompileError> {
        if self.eat(sign) {
            return Ok(());
        }
        Err(CompileError::new(self.at(), format!("expected `{sign}`, found {}", describe(self.peek()))))
    }

    fn node(&self, at: usize, what: What) -> Result<Node, CompileError> {
        let depth = 1 + what.deepest();
        if depth > EXPRESSION_DEPTH {
            return Err(CompileError::new(at, format!("it is nested more than {EXPRESSION_DEPTH} deep here")));
        }
        Ok(Node { at, what, depth })
    }

    fn expression(&mut self) -> Result<Node, CompileError> {
        self.open += 1;
        // Brackets that leave nothing in the tree are bounded too.
        if self.open > EXPRESSION_DEPTH {
            return Err(CompileError::new(self.at(), format!("it is nested more than {EXPRESSION_DEPTH} deep here")));
        }
        let condition = self.any()?;
        let at = self.at();
        let node = if self.eat("?") {
            let yes = Box::new(self.any()?);
            self.expect(":")?;
            let no = Box::new(self.expression()?);
            self.node(at, What::Choice { condition: Box::new(condition), yes, no })?
        } else {
            condition
        };
        self.open -= 1;
        Ok(node)
    }

    fn any(&mut self) -> Result<Node, CompileError> {
        self.chain("||", Self::all, What::Any)
    }

    fn all(&mut self) -> Result<Node, CompileError> {
        self.chain("&&", Self::relation, What::All)
    }

    fn chain(
        &mut self,
        sign: &str,
        part: fn(&mut Self) -> Result<Node, CompileError>,
        make: fn(Vec<Node>) -> What,
    ) -> Result<Node, CompileError> {
        let first = part(self)?;
        let at = self.at();
        let mut parts = vec![first];
        while self.eat(sign) {
            parts.push(part(self)?);
        }
        match parts.pop() {
            Some(only) if parts.is_empty() => Ok(only),
            last => {
                parts.extend(last);
                self.node(at, make(parts))
            }
        }
    }

    fn relation(&mut self) -> Result<Node, CompileError> {
        let mut left = self.sum()?;
        loop {
            let at = self.at();
            let comparison = match self.peek() {
                LexerToken::Sign("==") => Comparison::Equal,
                LexerToken::Sign("!=") => Comparison::Unequal,
                LexerToken::Sign("<") => Comparison::Less,
                LexerToken::Sign("<=") => Comparison::AtMost,
                LexerToken::Sign(">") => Comparison::Greater,
                LexerToken::Sign(">=") => Comparison::AtLeast,
                LexerToken::Name(name) if &**name == "in" => Comparison::In,
                _ => return Ok(left),
            };
            self.next += 1;
            let right = self.sum()?;
            if comparison == Comparison::In {
                self.uses.index(&right, &left);
            }
            left = self.node(at, What::Compare(comparison, Box::new(left), Box::new(right)))?;
        }
    }

    fn sum(&mut self) -> Result<Node, CompileError> {
        self.arithmetic(&[Arithmetic::Add, Arithmetic::Subtract], Self::product)
    }

    fn product(&mut self) -> Result<Node, CompileError> {
        self.arithmetic(&[Arithmetic::Multiply, Arithmetic::Divide, Arithmetic::Remainder], Self::unary)
    }

    fn arithmetic(
        &mut self,
        operators: &[Arithmetic],
        part: fn(&mut Self) -> Result<Node, CompileError>,
    ) -> Result<Node, CompileError> {
        let first = part(self)?;
        let begin = self.at();
        let mut rest = Vec::new();
        loop {
            let at = self.at();
            let Some(operator) = operators.iter().find(|operator| self.eat(operator.sign())) else { break };
            rest.push((*operator, at, part(self)?));
        }
        if rest.is_empty() { Ok(first) } else { self.node(begin, What::Arithmetic(Box::new(first), rest)) }
    }

    fn unary(&mut self) -> Result<Node, CompileError> {
        let at = self.at();
        let mut nots = 0;
        while self.eat("!") {
            nots += 1;
        }
        if nots > 0 {
            let inner = self.member()?;
            // An even number says nothing but that it is a boolean.
            let node = self.node(at, What::Not(Box::new(inner)))?;
            return if nots % 2 == 1 { Ok(node) } else { self.node(at, What::Not(Box::new(node))) };
        }
        let mut signs = 0;
        while self.eat("-") {
            signs += 1;
        }
        if signs == 0 {
            return self.member();
        }
        // The least integer has no positive counterpart, so a sign belongs to the literal behind it.
        let literal = match self.peek() {
            LexerToken::Int(number) => 0i64.checked_sub_unsigned(*number).map(Literal::Int),
            LexerToken::Double(number) => Some(Literal::Double(-number)),
            _ => None,
        };
        let mut node = match literal {
            Some(literal) => {
                self.next += 1;
                signs -= 1;
                let node = self.node(at, What::Literal(literal))?;
                self.member_of(node)?
            }
            None => self.member()?,
        };
        if signs > 0 {
            node = self.node(at, What::Negate(Box::new(node)))?;
            if signs % 2 == 0 {
                node = self.node(at, What::Negate(Box::new(node)))?;
            }
        }
        Ok(node)
    }
}

impl What {
    /// Levels of the deepest part.
    fn deepest(&self) -> usize {
        let of = |nodes: &[Node]| nodes.iter().map(|node| node.depth).max().unwrap_or_default();
        match self {
            Self::Literal(_) | Self::Binding(_) | Self::Local(_) => 0,
            Self::Select { from, .. } | Self::Has { from, .. } => from.depth,
            Self::Index { from, index, .. } => from.depth.max(index.depth),
            Self::All(nodes) | Self::Any(nodes) | Self::Call { arguments: nodes, .. } => of(nodes),
            Self::List(elements) => elements.iter().map(|element| element.value.depth).max().unwrap_or_default(),
            Self::Map(entries) => {
                entries.iter().map(|entry| entry.key.depth.max(entry.value.depth)).max().unwrap_or_default()
            }
            Self::Not(node) | Self::Negate(node) => node.depth,
            Self::Choice { condition, yes, no } => condition.depth.max(yes.depth).max(no.depth),
            Self::Arithmetic(first, rest) => {
                rest.iter().map(|(_, _, node)| node.depth).max().unwrap_or_default().max(first.depth)
            }
            Self::Compare(_, left, right) => left.depth.max(right.depth),
            Self::Loop(comprehension) => {
                let Comprehension { range, only, body, .. } = &**comprehension;
                range.depth.max(body.depth).max(only.as_ref().map_or(0, |only| only.depth))
            }
            Self::OptionalMap { from, body, .. } => from.depth.max(body.depth),
        }
    }
}
