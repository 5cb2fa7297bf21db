//! The text of an expression as tokens (CEL language definition, "Syntax").

use super::CompileError;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum LexerToken {
    /// A name; keywords and reserved words too.
    Name(Box<str>),
    /// A whole number without its sign, at most 2^63.
    Int(u64),
    UInt(u64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    /// The name of a field in backticks.
    Quoted(Box<str>),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Longer signs before their own beginnings.
const SIGNS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", ".?", "[?", "+", "-", "*", "/", "%", "<", ">", "!", "?", ":", ".", ",", "(",
    ")", "[", "]", "{", "}",
];

/// Splits a text into tokens, each with the byte at which it begins. The last is [`LexerToken::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<(usize, LexerToken)>, CompileError> {
    let mut lexer = Lexer { source, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let at = lexer.at;
        let token = lexer.token()?;
        let end = token == LexerToken::End;
        tokens.push((at, token));
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn eat(&mut self, text: &str) -> bool {
        let there = self.rest().starts_with(text);
        if there {
            self.at += text.len();
        }
        there
    }

    /// Takes characters while they fit.
    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'s str {
        let rest = self.rest();
        let length = rest.find(|next| !fits(next)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take(|next| matches!(next, ' ' | '\t' | '\n' | '\r' | '\u{c}'));
            if !self.rest().starts_with("//") {
                return;
            }
            self.take(|next| next != '\n');
        }
    }

    fn token(&mut self) -> Result<LexerToken, CompileError> {
        let start = self.at;
        let Some(first) = self.peek() else { return Ok(LexerToken::End) };
        let after_point = self.rest().strip_prefix('.').and_then(|rest| rest.chars().next());
        if first.is_ascii_digit() || after_point.is_some_and(|next| next.is_ascii_digit()) {
            return self.number();
        }
        if let Some((raw, bytes)) = self.opens_string() {
            return self.string(start, raw, bytes);
        }
        if first == '_' || first.is_ascii_alphabetic() {
            return Ok(LexerToken::Name(self.take(|next| next == '_' || next.is_ascii_alphanumeric()).into()));
        }
        if first == '`' {
            return self.quoted(start);
        }
        match SIGNS.iter().find(|sign| self.rest().starts_with(**sign)) {
            Some(sign) => {
                self.at += sign.len();
                Ok(LexerToken::Sign(sign))
            }
            None if first == '=' => Err(CompileError::new(start, "`=` is not an operator; use `==`")),
            None if first == '&' || first == '|' => {
                Err(CompileError::new(start, format!("`{first}` is not an operator; use `{first}{first}`")))
            }
            None => Err(CompileError::new(start, format!("`{}` is not allowed here", first.escape_default()))),
        }
    }

    /// `` `name` ``, with letters, digits and the signs that names of fields have.
    fn quoted(&mut self, start: usize) -> Result<LexerToken, CompileError> {
        self.bump();
        let name = self.take(|next| next.is_ascii_alphanumeric() || matches!(next, '_' | '.' | '-' | '/' | ' '));
        if name.is_empty() || !self.eat("`") {
            let message = "a name in backticks has letters, digits, `_`, `.`, `-`, `/` and spaces; other keys are written [\"…\"]";
            return Err(CompileError::new(start, message));
        }
        Ok(LexerToken::Quoted(name.into()))
    }

    fn number(&mut self) -> Result<LexerToken, CompileError> {
        let start = self.at;
        let too_large = || CompileError::new(start, "this number is too large; integers have 64 bits");
        if self.eat("0x") || self.eat("0X") {
            let digits = self.take(|next| next.is_ascii_hexdigit());
            let value = u64::from_str_radix(digits, 16).map_err(|_| match digits {
                "" => CompileError::new(start, "hexadecimal digits must follow 0x"),
                _ => too_large(),
            })?;
            return self.whole(start, value);
        }
        self.take(|next| next.is_ascii_digit());
        let mut double = false;
        let point = self.rest().strip_prefix('.').and_then(|rest| rest.chars().next());
        if point.is_some_and(|next| next.is_ascii_digit()) {
            double = true;
            self.bump();
            self.take(|next| next.is_ascii_digit());
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            double = true;
            self.bump();
            if matches!(self.peek(), Some('+' | '-')) {
                self.bump();
            }
            if self.take(|next| next.is_ascii_digit()).is_empty() {
                return Err(CompileError::new(start, "digits must follow the exponent's e"));
            }
        }
        let text = self.source.get(start..self.at).unwrap_or_default();
        if double {
            self.ends_number(start)?;
            return text.parse().map(LexerToken::Double).map_err(|_| too_large());
        }
        let value = text.parse::<u64>().map_err(|_| too_large())?;
        self.whole(start, value)
    }

    fn whole(&mut self, start: usize, value: u64) -> Result<LexerToken, CompileError> {
        if self.eat("u") || self.eat("U") {
            self.ends_number(start)?;
            return Ok(LexerToken::UInt(value));
        }
        self.ends_number(start)?;
        if value > 1 << 63 {
            return Err(CompileError::new(start, "this number is too large; integers have 64 bits"));
        }
        Ok(LexerToken::Int(value))
    }

    fn ends_number(&self, start: usize) -> Result<(), CompileError> {
        match self.peek() {
            Some(next) if next == '_' || next.is_ascii_alphanumeric() => {
                Err(CompileError::new(start, "this number is followed by a letter; names begin with a letter or `_`"))
            }
            _ => Ok(()),
        }
    }

    /// Takes the prefix of a string and says whether it is raw and whether it is of bytes.
    fn opens_string(&mut self) -> Option<(bool, bool)> {
        let rest = self.rest();
        let prefix = rest.find(|next| !matches!(next, 'r' | 'R' | 'b' | 'B'))?;
        let (letters, quoted) = rest.split_at_checked(prefix)?;
        if letters.len() > 2 || !quoted.starts_with(['"', '\'']) {
            return None;
        }
        let (raw, bytes) = (letters.contains(['r', 'R']), letters.contains(['b', 'B']));
        if letters.len() == 2 && !(raw && bytes) {
            return None;
        }
        self.at += prefix;
        Some((raw, bytes))
    }

    fn string(&mut self, start: usize, raw: bool, bytes: bool) -> Result<LexerToken, CompileError> {
        let close = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| self.eat(quote)).unwrap_or("\"");
        let mut value = Vec::new();
        while !self.eat(close) {
            let at = self.at;
            match self.bump() {
                None => {
                    return Err(CompileError::new(start, format!("unterminated string; close it with {close}")));
                }
                Some('\n' | '\r') if close.len() == 1 => {
                    return Err(CompileError::new(start, "a multi-line string needs triple quotes"));
                }
                Some('\\') if !raw => self.escape(at, bytes, &mut value)?,
                // In a raw string a quote after a backslash does not end it.
                Some('\\') => {
                    value.push(b'\\');
                    if close.len() == 1 && self.rest().starts_with(close) {
                        value.extend(self.bump().map(|quote| quote as u8));
                    }
                }
                Some(next) => value.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if bytes {
            return Ok(LexerToken::Bytes(value.into()));
        }
        // Only escapes of bytes literals make anything but UTF-8.
        let text = String::from_utf8(value).map_err(|_| CompileError::new(start, "this string is not UTF-8"))?;
        Ok(LexerToken::Text(text.into()))
    }

    fn escape(&mut self, at: usize, bytes: bool, value: &mut Vec<u8>) -> Result<(), CompileError> {
        let wrong = || {
            CompileError::new(
                at,
                r"this escape is not known; \\ is a backslash, \n a new line, \u00e9 a character, and r'…' has none",
            )
        };
        let plain = |byte: u8, value: &mut Vec<u8>| {
            value.push(byte);
            Ok(())
        };
        let (digits, radix, first) = match self.bump().ok_or_else(wrong)? {
            'a' => return plain(7, value),
            'b' => return plain(8, value),
            't' => return plain(b'\t', value),
            'n' => return plain(b'\n', value),
            'v' => return plain(11, value),
            'f' => return plain(12, value),
            'r' => return plain(b'\r', value),
            same @ ('\\' | '?' | '"' | '\'' | '`') => return plain(same as u8, value),
            'x' | 'X' => (2, 16, None),
            'u' if !bytes => (4, 16, None),
            'U' if !bytes => (8, 16, None),
            octal @ '0'..='3' => (2, 8, octal.to_digit(8)),
            _ => return Err(wrong()),
        };
        let mut code = first.unwrap_or_default();
        for _ in 0..digits {
            let digit = self.bump().and_then(|next| next.to_digit(radix)).ok_or_else(wrong)?;
            code = code.checked_mul(radix).and_then(|code| code.checked_add(digit)).ok_or_else(wrong)?;
        }
        if bytes {
            value.push(u8::try_from(code).map_err(|_| wrong())?);
        } else {
            let character = char::from_u32(code).ok_or_else(wrong)?;
            value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(())
    }
}
