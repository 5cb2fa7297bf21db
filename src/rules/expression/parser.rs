//! Tokens to a tree (CEL language definition, "Syntax" and "Macros").

use regex::{Regex, RegexBuilder};

use super::{
    Flaw, Scope,
    functions::{Function, Style},
    lexer::{Token, tokens},
    syntax::{Arithmetic, Comparison, Given, Literal, Loop, Node, What},
    value::Kind,
};
use crate::rules::limits::{EXPRESSION_BYTES, EXPRESSION_DEPTH, EXPRESSION_PATTERN_BYTES};

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

/// What an expression uses of what it is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) headers: bool,
    pub(super) payload: bool,
}

/// Reads an expression of at most [`EXPRESSION_BYTES`] and [`EXPRESSION_DEPTH`].
pub(super) fn parse(source: &str, scope: Scope) -> Result<(Node, Uses), Flaw> {
    if source.len() > EXPRESSION_BYTES {
        let length = source.len();
        return Err(Flaw::new(0, format!("it has {length} bytes, more than the {EXPRESSION_BYTES} allowed")));
    }
    let tokens = tokens(source)?;
    let mut parser = Parser { tokens, next: 0, scope, variables: Vec::new(), open: 0, uses: Uses::default() };
    let node = parser.expression()?;
    match parser.peek() {
        Token::End => Ok((node, parser.uses)),
        other => Err(Flaw::new(parser.at(), format!("{} cannot stand here", describe(other)))),
    }
}

/// A regular expression of bounded size (RE2 syntax, run in linear time).
pub(super) fn pattern(text: &str) -> Result<Regex, &'static str> {
    RegexBuilder::new(text)
        .size_limit(EXPRESSION_PATTERN_BYTES)
        .dfa_size_limit(EXPRESSION_PATTERN_BYTES)
        .build()
        .map_err(
            |_| "this is not a regular expression of RE2, or it is too large; look-around and back-references are none",
        )
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    scope: Scope,
    /// Variables of the macros around, outermost first.
    variables: Vec<Box<str>>,
    /// Expressions under way.
    open: usize,
    uses: Uses,
}

fn describe(token: &Token) -> String {
    match token {
        Token::Name(name) => format!("`{name}`"),
        Token::Int(number) => format!("`{number}`"),
        Token::UInt(number) => format!("`{number}u`"),
        Token::Double(number) => format!("`{number}`"),
        Token::Text(_) | Token::Bytes(_) => "a string".into(),
        Token::Sign(sign) => format!("`{sign}`"),
        Token::End => "the end".into(),
    }
}

impl Parser {
    fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &Token {
        self.tokens.get(self.next + ahead).map_or(&Token::End, |(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |(at, _)| *at)
    }

    fn eat(&mut self, sign: &str) -> bool {
        let there = matches!(self.peek(), Token::Sign(found) if *found == sign);
        self.next += usize::from(there);
        there
    }

    fn expect(&mut self, sign: &str) -> Result<(), Flaw> {
        if self.eat(sign) {
            return Ok(());
        }
        Err(Flaw::new(self.at(), format!("`{sign}` must stand here, not {}", describe(self.peek()))))
    }

    fn node(&self, at: usize, what: What) -> Result<Node, Flaw> {
        let depth = 1 + what.deepest();
        if depth > EXPRESSION_DEPTH {
            return Err(Flaw::new(at, format!("it is nested more than {EXPRESSION_DEPTH} deep here")));
        }
        Ok(Node { at, what, depth })
    }

    fn expression(&mut self) -> Result<Node, Flaw> {
        self.open += 1;
        // Brackets that leave nothing in the tree are bounded too.
        if self.open > EXPRESSION_DEPTH {
            return Err(Flaw::new(self.at(), format!("it is nested more than {EXPRESSION_DEPTH} deep here")));
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

    fn any(&mut self) -> Result<Node, Flaw> {
        self.chain("||", Self::all, What::Any)
    }

    fn all(&mut self) -> Result<Node, Flaw> {
        self.chain("&&", Self::relation, What::All)
    }

    fn chain(
        &mut self,
        sign: &str,
        part: fn(&mut Self) -> Result<Node, Flaw>,
        make: fn(Vec<Node>) -> What,
    ) -> Result<Node, Flaw> {
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

    fn relation(&mut self) -> Result<Node, Flaw> {
        let mut left = self.sum()?;
        loop {
            let at = self.at();
            let comparison = match self.peek() {
                Token::Sign("==") => Comparison::Equal,
                Token::Sign("!=") => Comparison::Unequal,
                Token::Sign("<") => Comparison::Less,
                Token::Sign("<=") => Comparison::AtMost,
                Token::Sign(">") => Comparison::Greater,
                Token::Sign(">=") => Comparison::AtLeast,
                Token::Name(name) if &**name == "in" => Comparison::In,
                _ => return Ok(left),
            };
            self.next += 1;
            let right = self.sum()?;
            left = self.node(at, What::Compare(comparison, Box::new(left), Box::new(right)))?;
        }
    }

    fn sum(&mut self) -> Result<Node, Flaw> {
        self.arithmetic(&[Arithmetic::Add, Arithmetic::Subtract], Self::product)
    }

    fn product(&mut self) -> Result<Node, Flaw> {
        self.arithmetic(&[Arithmetic::Multiply, Arithmetic::Divide, Arithmetic::Remainder], Self::unary)
    }

    fn arithmetic(
        &mut self,
        operators: &[Arithmetic],
        part: fn(&mut Self) -> Result<Node, Flaw>,
    ) -> Result<Node, Flaw> {
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

    fn unary(&mut self) -> Result<Node, Flaw> {
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
            Token::Int(number) => 0i64.checked_sub_unsigned(*number).map(Literal::Int),
            Token::Double(number) => Some(Literal::Double(-number)),
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

    fn member(&mut self) -> Result<Node, Flaw> {
        let node = self.primary()?;
        self.member_of(node)
    }

    /// Fields, indices and methods behind a value.
    fn member_of(&mut self, mut node: Node) -> Result<Node, Flaw> {
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

    fn field(&mut self) -> Result<(usize, Box<str>), Flaw> {
        let at = self.at();
        match self.peek() {
            Token::Name(name) if !matches!(&**name, "true" | "false" | "null" | "in") => {
                let name = name.clone();
                self.next += 1;
                Ok((at, name))
            }
            other => Err(Flaw::new(
                at,
                format!("the name of a field must stand here, not {}; other keys are written [\"…\"]", describe(other)),
            )),
        }
    }

    /// What is behind `receiver.name(`.
    fn method(&mut self, at: usize, receiver: Node, name: &str) -> Result<Node, Flaw> {
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

    fn loops(&mut self, at: usize, of: Loop, range: Node, name: &str) -> Result<Node, Flaw> {
        let variable = match (self.peek(), self.peek_at(1)) {
            (Token::Name(variable), Token::Sign(",")) if !is_reserved(variable) => variable.clone(),
            _ => {
                let message = format!("{name} takes the name of a variable and what is said of it, as in {name}(x, …)");
                return Err(Flaw::new(self.at(), message));
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
    fn arguments(&mut self, close: &str, arguments: &mut Vec<Node>) -> Result<(), Flaw> {
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

    fn call(&mut self, at: usize, name: &str, style: Style, arguments: Vec<Node>) -> Result<Node, Flaw> {
        let function = Function::find(name, style, arguments.len()).map_err(|message| Flaw::new(at, message))?;
        let compiled = match (function, arguments.get(1)) {
            (Function::Matches, Some(Node { at, what: What::Literal(Literal::Text(text)), .. })) => {
                Some(Box::new(pattern(text).map_err(|message| Flaw::new(*at, message))?))
            }
            _ => None,
        };
        self.node(at, What::Call { function, arguments, pattern: compiled })
    }

    fn primary(&mut self) -> Result<Node, Flaw> {
        let at = self.at();
        let literal = match self.peek().clone() {
            Token::Int(number) => Literal::Int(
                i64::try_from(number).map_err(|_| Flaw::new(at, "this number is too large; integers have 64 bits"))?,
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
            Token::End if self.next == 0 => return Err(Flaw::new(at, "it is empty")),
            other => return Err(Flaw::new(at, format!("a value must stand here, not {}", describe(&other)))),
        };
        self.next += 1;
        self.node(at, What::Literal(literal))
    }

    fn map(&mut self, at: usize) -> Result<Node, Flaw> {
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

    fn name(&mut self, at: usize, name: &str) -> Result<Node, Flaw> {
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
            return Err(Flaw::new(at, format!("`{name}` is a reserved word of the language")));
        }
        if let Some(place) = self.variables.iter().rposition(|variable| &**variable == name) {
            return self.node(at, What::Local(place));
        }
        if self.eat("(") {
            return if name == "has" { self.has(at) } else { self.function(at, name) };
        }
        if let Some(given) = self.scope.given(name) {
            match given {
                Given::Headers => self.uses.headers = true,
                Given::Payload => self.uses.payload = true,
                Given::Event | Given::Claims => {}
            }
            return self.node(at, What::Given(given));
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
                Err(Flaw::new(at, format!("there is no variable `{name}`; there are {known}")))
            }
        }
    }

    fn function(&mut self, at: usize, name: &str) -> Result<Node, Flaw> {
        let mut arguments = Vec::new();
        self.arguments(")", &mut arguments)?;
        self.call(at, name, Style::Function, arguments)
    }

    fn has(&mut self, at: usize) -> Result<Node, Flaw> {
        let inner = self.expression()?;
        self.expect(")")?;
        match inner.what {
            What::Select { from, field, optional: false } => self.node(at, What::Has { from, field }),
            _ => Err(Flaw::new(
                inner.at,
                "has() asks for a field, as in has(payload.name); for other keys write \"the-key\" in payload",
            )),
        }
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || matches!(name, "true" | "false" | "null")
}

impl What {
    /// Levels of the deepest part.
    fn deepest(&self) -> usize {
        let of = |nodes: &[Node]| nodes.iter().map(|node| node.depth).max().unwrap_or_default();
        match self {
            Self::Literal(_) | Self::Given(_) | Self::Local(_) => 0,
            Self::Select { from, .. } | Self::Has { from, .. } => from.depth,
            Self::Index { from, index, .. } => from.depth.max(index.depth),
            Self::List(nodes) | Self::All(nodes) | Self::Any(nodes) | Self::Call { arguments: nodes, .. } => of(nodes),
            Self::Map(entries) => {
                entries.iter().map(|(key, value)| key.depth.max(value.depth)).max().unwrap_or_default()
            }
            Self::Not(node) | Self::Negate(node) => node.depth,
            Self::Choice { condition, yes, no } => condition.depth.max(yes.depth).max(no.depth),
            Self::Arithmetic(first, rest) => {
                rest.iter().map(|(_, _, node)| node.depth).max().unwrap_or_default().max(first.depth)
            }
            Self::Compare(_, left, right) => left.depth.max(right.depth),
            Self::Loop { range, only, body, .. } => {
                range.depth.max(body.depth).max(only.as_ref().map_or(0, |only| only.depth))
            }
        }
    }
}
