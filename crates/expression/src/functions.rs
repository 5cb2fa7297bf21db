//! Functions of the language: their names, and the types of their arguments and results.

mod overloads;

use self::overloads::OVERLOADS;
use super::value::ValueKind;

/// The functions of the standard, and those of the usual extensions (strings, math, base64, optional values,
/// and `find` of Kubernetes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    Find,
    ToText,
    ToInt,
    ToUInt,
    ToDouble,
    ToBool,
    ToBytes,
    ToTimestamp,
    ToDuration,
    TypeOf,
    Dyn,
    Part(TimePart),
    LowerAscii,
    UpperAscii,
    Trim,
    Replace,
    Split,
    Join,
    Substring,
    IndexOf,
    LastIndexOf,
    CharAt,
    Reverse,
    Quote,
    Format,
    Math(MathFunction),
    Encode,
    Decode,
    Some,
    SomeNonZero,
    None,
    HasValue,
    Unwrap,
    Or,
    OrValue,
}

/// What is asked of a timestamp or a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimePart {
    FullYear,
    Month,
    DayOfYear,
    DayOfMonth,
    Date,
    DayOfWeek,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// Functions of the math extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MathFunction {
    Greatest,
    Least,
    Ceil,
    Floor,
    Round,
    Trunc,
    Abs,
    Sign,
    IsNan,
    IsInf,
    IsFinite,
    BitAnd,
    BitOr,
    BitXor,
    BitNot,
    BitShiftLeft,
    BitShiftRight,
}

/// How a function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `f(x)`.
    Function,
    /// `x.f()`.
    Method,
}

/// One way to call a function. `None` stands for any type.
pub(super) struct Overload {
    pub(super) name: &'static str,
    pub(super) function: Function,
    style: Style,
    pub(super) takes: &'static [Option<ValueKind>],
    pub(super) gives: Option<ValueKind>,
}

impl Function {
    /// Whether it takes one list, or any number of arguments that are its elements.
    pub(super) fn is_variadic(self) -> bool {
        matches!(self, Self::Math(MathFunction::Greatest | MathFunction::Least))
    }

    /// The function of a name that is called in a style with so many arguments, the receiver included.
    pub(super) fn find(name: &str, style: Style, arguments: usize) -> Result<Self, String> {
        let mut named = OVERLOADS.iter().filter(|overload| overload.name == name).peekable();
        if named.peek().is_none() {
            return Err(format!("unknown function `{name}`"));
        }
        let mut known = Vec::new();
        for overload in named {
            let fits = overload.takes.len() == arguments || (overload.function.is_variadic() && arguments > 1);
            if overload.style == style && fits {
                return Ok(overload.function);
            }
            let signature = overload.signature();
            if !known.contains(&signature) {
                known.push(signature);
            }
        }
        Err(format!("wrong arguments for `{name}`; use {}", known.join(" or ")))
    }

    pub(super) fn is_known(name: &str) -> bool {
        OVERLOADS.iter().any(|overload| overload.name == name)
    }

    /// The ways in which it takes so many arguments.
    pub(super) fn overloads(self, arguments: usize) -> impl Iterator<Item = &'static Overload> {
        OVERLOADS.iter().filter(move |overload| overload.function == self && overload.takes.len() == arguments)
    }

    pub(super) fn name(self) -> &'static str {
        OVERLOADS.iter().find(|overload| overload.function == self).map_or("?", |overload| overload.name)
    }
}

impl Overload {
    /// How it is called, as in `x.contains(string)`.
    fn signature(&self) -> String {
        let types = self.takes.iter().map(|kind| kind.map_or("any", ValueKind::name));
        match self.style {
            Style::Function => format!("{}({})", self.name, types.collect::<Vec<_>>().join(", ")),
            Style::Method => {
                let mut types = types;
                let receiver = types.next().unwrap_or("any");
                format!("{receiver}.{}({})", self.name, types.collect::<Vec<_>>().join(", "))
            }
        }
    }
}
