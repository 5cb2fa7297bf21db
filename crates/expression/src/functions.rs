//! Which functions there are, and what they take and give.

use super::value::Kind;

/// The functions of the standard, and those of the usual extensions (strings, base64, optional values).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
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
    Encode,
    Decode,
    Some,
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
    pub(super) takes: &'static [Option<Kind>],
    pub(super) gives: Option<Kind>,
}

const fn function(
    name: &'static str,
    function: Function,
    takes: &'static [Option<Kind>],
    gives: Option<Kind>,
) -> Overload {
    Overload { name, function, style: Style::Function, takes, gives }
}

const fn method(
    name: &'static str,
    function: Function,
    takes: &'static [Option<Kind>],
    gives: Option<Kind>,
) -> Overload {
    Overload { name, function, style: Style::Method, takes, gives }
}

const fn part(name: &'static str, part: TimePart, takes: &'static [Option<Kind>]) -> Overload {
    method(name, Function::Part(part), takes, INT)
}

const ANY: Option<Kind> = None;
const BOOL: Option<Kind> = Some(Kind::Bool);
const INT: Option<Kind> = Some(Kind::Int);
const UINT: Option<Kind> = Some(Kind::UInt);
const DOUBLE: Option<Kind> = Some(Kind::Double);
const TEXT: Option<Kind> = Some(Kind::Text);
const BYTES: Option<Kind> = Some(Kind::Bytes);
const TIME: Option<Kind> = Some(Kind::Timestamp);
const SPAN: Option<Kind> = Some(Kind::Duration);
const LIST: Option<Kind> = Some(Kind::List);
const MAP: Option<Kind> = Some(Kind::Map);
const TYPE: Option<Kind> = Some(Kind::Type);
const OPTIONAL: Option<Kind> = Some(Kind::Optional);

const OVERLOADS: &[Overload] = &[
    function("size", Function::Size, &[TEXT], INT),
    function("size", Function::Size, &[BYTES], INT),
    function("size", Function::Size, &[LIST], INT),
    function("size", Function::Size, &[MAP], INT),
    method("size", Function::Size, &[TEXT], INT),
    method("size", Function::Size, &[BYTES], INT),
    method("size", Function::Size, &[LIST], INT),
    method("size", Function::Size, &[MAP], INT),
    method("contains", Function::Contains, &[TEXT, TEXT], BOOL),
    method("startsWith", Function::StartsWith, &[TEXT, TEXT], BOOL),
    method("endsWith", Function::EndsWith, &[TEXT, TEXT], BOOL),
    method("matches", Function::Matches, &[TEXT, TEXT], BOOL),
    function("matches", Function::Matches, &[TEXT, TEXT], BOOL),
    function("string", Function::ToText, &[TEXT], TEXT),
    function("string", Function::ToText, &[INT], TEXT),
    function("string", Function::ToText, &[UINT], TEXT),
    function("string", Function::ToText, &[DOUBLE], TEXT),
    function("string", Function::ToText, &[BOOL], TEXT),
    function("string", Function::ToText, &[BYTES], TEXT),
    function("string", Function::ToText, &[TIME], TEXT),
    function("string", Function::ToText, &[SPAN], TEXT),
    function("int", Function::ToInt, &[INT], INT),
    function("int", Function::ToInt, &[UINT], INT),
    function("int", Function::ToInt, &[DOUBLE], INT),
    function("int", Function::ToInt, &[TEXT], INT),
    function("int", Function::ToInt, &[TIME], INT),
    function("uint", Function::ToUInt, &[UINT], UINT),
    function("uint", Function::ToUInt, &[INT], UINT),
    function("uint", Function::ToUInt, &[DOUBLE], UINT),
    function("uint", Function::ToUInt, &[TEXT], UINT),
    function("double", Function::ToDouble, &[DOUBLE], DOUBLE),
    function("double", Function::ToDouble, &[INT], DOUBLE),
    function("double", Function::ToDouble, &[UINT], DOUBLE),
    function("double", Function::ToDouble, &[TEXT], DOUBLE),
    function("bool", Function::ToBool, &[BOOL], BOOL),
    function("bool", Function::ToBool, &[TEXT], BOOL),
    function("bytes", Function::ToBytes, &[BYTES], BYTES),
    function("bytes", Function::ToBytes, &[TEXT], BYTES),
    function("timestamp", Function::ToTimestamp, &[TIME], TIME),
    function("timestamp", Function::ToTimestamp, &[TEXT], TIME),
    function("timestamp", Function::ToTimestamp, &[INT], TIME),
    function("duration", Function::ToDuration, &[SPAN], SPAN),
    function("duration", Function::ToDuration, &[TEXT], SPAN),
    function("type", Function::TypeOf, &[ANY], TYPE),
    function("dyn", Function::Dyn, &[ANY], ANY),
    part("getFullYear", TimePart::FullYear, &[TIME]),
    part("getFullYear", TimePart::FullYear, &[TIME, TEXT]),
    part("getMonth", TimePart::Month, &[TIME]),
    part("getMonth", TimePart::Month, &[TIME, TEXT]),
    part("getDayOfYear", TimePart::DayOfYear, &[TIME]),
    part("getDayOfYear", TimePart::DayOfYear, &[TIME, TEXT]),
    part("getDayOfMonth", TimePart::DayOfMonth, &[TIME]),
    part("getDayOfMonth", TimePart::DayOfMonth, &[TIME, TEXT]),
    part("getDate", TimePart::Date, &[TIME]),
    part("getDate", TimePart::Date, &[TIME, TEXT]),
    part("getDayOfWeek", TimePart::DayOfWeek, &[TIME]),
    part("getDayOfWeek", TimePart::DayOfWeek, &[TIME, TEXT]),
    part("getHours", TimePart::Hours, &[TIME]),
    part("getHours", TimePart::Hours, &[TIME, TEXT]),
    part("getHours", TimePart::Hours, &[SPAN]),
    part("getMinutes", TimePart::Minutes, &[TIME]),
    part("getMinutes", TimePart::Minutes, &[TIME, TEXT]),
    part("getMinutes", TimePart::Minutes, &[SPAN]),
    part("getSeconds", TimePart::Seconds, &[TIME]),
    part("getSeconds", TimePart::Seconds, &[TIME, TEXT]),
    part("getSeconds", TimePart::Seconds, &[SPAN]),
    part("getMilliseconds", TimePart::Milliseconds, &[TIME]),
    part("getMilliseconds", TimePart::Milliseconds, &[TIME, TEXT]),
    part("getMilliseconds", TimePart::Milliseconds, &[SPAN]),
    method("lowerAscii", Function::LowerAscii, &[TEXT], TEXT),
    method("upperAscii", Function::UpperAscii, &[TEXT], TEXT),
    method("trim", Function::Trim, &[TEXT], TEXT),
    method("replace", Function::Replace, &[TEXT, TEXT, TEXT], TEXT),
    method("split", Function::Split, &[TEXT, TEXT], LIST),
    method("join", Function::Join, &[LIST], TEXT),
    method("join", Function::Join, &[LIST, TEXT], TEXT),
    method("substring", Function::Substring, &[TEXT, INT], TEXT),
    method("substring", Function::Substring, &[TEXT, INT, INT], TEXT),
    method("indexOf", Function::IndexOf, &[TEXT, TEXT], INT),
    method("lastIndexOf", Function::LastIndexOf, &[TEXT, TEXT], INT),
    function("base64.encode", Function::Encode, &[BYTES], TEXT),
    function("base64.decode", Function::Decode, &[TEXT], BYTES),
    function("optional.of", Function::Some, &[ANY], OPTIONAL),
    function("optional.none", Function::None, &[], OPTIONAL),
    method("hasValue", Function::HasValue, &[OPTIONAL], BOOL),
    method("value", Function::Unwrap, &[OPTIONAL], ANY),
    method("or", Function::Or, &[OPTIONAL, OPTIONAL], OPTIONAL),
    method("orValue", Function::OrValue, &[OPTIONAL, ANY], ANY),
];

impl Function {
    /// The function of a name that is called in a style with so many arguments, the receiver included.
    pub(super) fn find(name: &str, style: Style, arguments: usize) -> Result<Self, String> {
        let mut named = OVERLOADS.iter().filter(|overload| overload.name == name).peekable();
        if named.peek().is_none() {
            return Err(format!("unknown function `{name}`"));
        }
        let mut known = Vec::new();
        for overload in named {
            if overload.style == style && overload.takes.len() == arguments {
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
        let types = self.takes.iter().map(|kind| kind.map_or("any", Kind::name));
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
