//! The table of overloads.

use super::{Function, MathFunction, Overload, Style, TimePart};
use crate::value::ValueKind;

const fn function(
    name: &'static str,
    function: Function,
    takes: &'static [Option<ValueKind>],
    gives: Option<ValueKind>,
) -> Overload {
    Overload { name, function, style: Style::Function, takes, gives }
}

const fn method(
    name: &'static str,
    function: Function,
    takes: &'static [Option<ValueKind>],
    gives: Option<ValueKind>,
) -> Overload {
    Overload { name, function, style: Style::Method, takes, gives }
}

const fn part(name: &'static str, part: TimePart, takes: &'static [Option<ValueKind>]) -> Overload {
    method(name, Function::Part(part), takes, INT)
}

const fn math(
    name: &'static str,
    math: MathFunction,
    takes: &'static [Option<ValueKind>],
    gives: Option<ValueKind>,
) -> Overload {
    function(name, Function::Math(math), takes, gives)
}

const ANY: Option<ValueKind> = None;
const BOOL: Option<ValueKind> = Some(ValueKind::Bool);
const INT: Option<ValueKind> = Some(ValueKind::Int);
const UINT: Option<ValueKind> = Some(ValueKind::UInt);
const DOUBLE: Option<ValueKind> = Some(ValueKind::Double);
const TEXT: Option<ValueKind> = Some(ValueKind::Text);
const BYTES: Option<ValueKind> = Some(ValueKind::Bytes);
const TIME: Option<ValueKind> = Some(ValueKind::Timestamp);
const SPAN: Option<ValueKind> = Some(ValueKind::Duration);
const LIST: Option<ValueKind> = Some(ValueKind::List);
const MAP: Option<ValueKind> = Some(ValueKind::Map);
const TYPE: Option<ValueKind> = Some(ValueKind::Type);
const OPTIONAL: Option<ValueKind> = Some(ValueKind::Optional);

/// Every way to call every function.
pub(super) const OVERLOADS: &[Overload] = &[
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
    method("find", Function::Find, &[TEXT, TEXT], TEXT),
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
    method("replace", Function::Replace, &[TEXT, TEXT, TEXT, INT], TEXT),
    method("split", Function::Split, &[TEXT, TEXT], LIST),
    method("split", Function::Split, &[TEXT, TEXT, INT], LIST),
    method("join", Function::Join, &[LIST], TEXT),
    method("join", Function::Join, &[LIST, TEXT], TEXT),
    method("substring", Function::Substring, &[TEXT, INT], TEXT),
    method("substring", Function::Substring, &[TEXT, INT, INT], TEXT),
    method("indexOf", Function::IndexOf, &[TEXT, TEXT], INT),
    method("indexOf", Function::IndexOf, &[TEXT, TEXT, INT], INT),
    method("lastIndexOf", Function::LastIndexOf, &[TEXT, TEXT], INT),
    method("lastIndexOf", Function::LastIndexOf, &[TEXT, TEXT, INT], INT),
    method("charAt", Function::CharAt, &[TEXT, INT], TEXT),
    method("reverse", Function::Reverse, &[TEXT], TEXT),
    method("format", Function::Format, &[TEXT, LIST], TEXT),
    function("strings.quote", Function::Quote, &[TEXT], TEXT),
    math("math.greatest", MathFunction::Greatest, &[INT], INT),
    math("math.greatest", MathFunction::Greatest, &[UINT], UINT),
    math("math.greatest", MathFunction::Greatest, &[DOUBLE], DOUBLE),
    math("math.greatest", MathFunction::Greatest, &[LIST], ANY),
    math("math.least", MathFunction::Least, &[INT], INT),
    math("math.least", MathFunction::Least, &[UINT], UINT),
    math("math.least", MathFunction::Least, &[DOUBLE], DOUBLE),
    math("math.least", MathFunction::Least, &[LIST], ANY),
    math("math.ceil", MathFunction::Ceil, &[DOUBLE], DOUBLE),
    math("math.floor", MathFunction::Floor, &[DOUBLE], DOUBLE),
    math("math.round", MathFunction::Round, &[DOUBLE], DOUBLE),
    math("math.trunc", MathFunction::Trunc, &[DOUBLE], DOUBLE),
    math("math.abs", MathFunction::Abs, &[INT], INT),
    math("math.abs", MathFunction::Abs, &[UINT], UINT),
    math("math.abs", MathFunction::Abs, &[DOUBLE], DOUBLE),
    math("math.sign", MathFunction::Sign, &[INT], INT),
    math("math.sign", MathFunction::Sign, &[UINT], UINT),
    math("math.sign", MathFunction::Sign, &[DOUBLE], DOUBLE),
    math("math.isNaN", MathFunction::IsNan, &[DOUBLE], BOOL),
    math("math.isInf", MathFunction::IsInf, &[DOUBLE], BOOL),
    math("math.isFinite", MathFunction::IsFinite, &[DOUBLE], BOOL),
    math("math.bitAnd", MathFunction::BitAnd, &[INT, INT], INT),
    math("math.bitAnd", MathFunction::BitAnd, &[UINT, UINT], UINT),
    math("math.bitOr", MathFunction::BitOr, &[INT, INT], INT),
    math("math.bitOr", MathFunction::BitOr, &[UINT, UINT], UINT),
    math("math.bitXor", MathFunction::BitXor, &[INT, INT], INT),
    math("math.bitXor", MathFunction::BitXor, &[UINT, UINT], UINT),
    math("math.bitNot", MathFunction::BitNot, &[INT], INT),
    math("math.bitNot", MathFunction::BitNot, &[UINT], UINT),
    math("math.bitShiftLeft", MathFunction::BitShiftLeft, &[INT, INT], INT),
    math("math.bitShiftLeft", MathFunction::BitShiftLeft, &[UINT, INT], UINT),
    math("math.bitShiftRight", MathFunction::BitShiftRight, &[INT, INT], INT),
    math("math.bitShiftRight", MathFunction::BitShiftRight, &[UINT, INT], UINT),
    function("base64.encode", Function::Encode, &[BYTES], TEXT),
    function("base64.decode", Function::Decode, &[TEXT], BYTES),
    function("optional.of", Function::Some, &[ANY], OPTIONAL),
    function("optional.ofNonZeroValue", Function::SomeNonZero, &[ANY], OPTIONAL),
    function("optional.none", Function::None, &[], OPTIONAL),
    method("hasValue", Function::HasValue, &[OPTIONAL], BOOL),
    method("value", Function::Unwrap, &[OPTIONAL], ANY),
    method("or", Function::Or, &[OPTIONAL, OPTIONAL], OPTIONAL),
    method("orValue", Function::OrValue, &[OPTIONAL, ANY], ANY),
];
