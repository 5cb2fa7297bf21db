//! Types as far as they are known before an event arrives: an expression that is certain to fail is refused when it is
//! compiled. The payload's types are not known, so its values fit everywhere.

use super::{
    CompileError, EventInput,
    syntax::{Arithmetic, Binding, Comparison, Comprehension, Element, Literal, Loop, MapEntry, Node, What},
    value::ValueKind,
};

/// What is known of a value's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// Nothing.
    Any,
    Of(ValueKind),
    /// The map of headers: its values are strings.
    Headers,
    /// The event: its fields are known.
    Event,
}

impl Type {
    fn of(kind: Option<ValueKind>) -> Self {
        kind.map_or(Self::Any, Self::Of)
    }

    pub(super) fn kind(self) -> Option<ValueKind> {
        match self {
            Self::Any => None,
            Self::Of(kind) => Some(kind),
            Self::Headers | Self::Event => Some(ValueKind::Map),
        }
    }

    pub(super) fn name(self) -> &'static str {
        self.kind().map_or("any", ValueKind::name)
    }

    /// Its name in a sentence.
    pub(super) fn a(self) -> String {
        self.kind().map_or_else(|| "a value".into(), ValueKind::a)
    }

    /// Whether it can be of one of these kinds.
    pub(super) fn may_be(self, kinds: &[ValueKind]) -> bool {
        self.kind().is_none_or(|kind| kinds.contains(&kind))
    }
}

const NUMBERS: &[ValueKind] = &[ValueKind::Int, ValueKind::UInt, ValueKind::Double];

/// What a tree gives. `variables` are the types of the variables of the macros around it.
pub(super) fn infer(node: &Node, variables: &mut Vec<Type>) -> Result<Type, CompileError> {
    match &node.what {
        What::Literal(literal) => Ok(Type::Of(kind(literal))),
        What::Binding(Binding::Event) => Ok(Type::Event),
        What::Binding(Binding::Headers) => Ok(Type::Headers),
        What::Binding(Binding::Claims) => Ok(Type::Of(ValueKind::Map)),
        What::Binding(Binding::Payload) => Ok(Type::Any),
        What::Local(place) => Ok(variables.get(*place).copied().unwrap_or(Type::Any)),
        What::Select { from, field, optional } => {
            let from = infer(from, variables)?;
            let of = field_type(node, from, field)?;
            Ok(if *optional || from == Type::Of(ValueKind::Optional) { Type::Of(ValueKind::Optional) } else { of })
        }
        What::Has { from, field } => {
            let from = infer(from, variables)?;
            field_type(node, from, field).map(|_| Type::Of(ValueKind::Bool))
        }
        What::Index { from, index, optional } => index_type(node, from, index, *optional, variables),
        What::List(elements) => {
            for Element { optional, value } in elements {
                let found = infer(value, variables)?;
                needs_optional(*optional, value, found)?;
            }
            Ok(Type::Of(ValueKind::List))
        }
        What::Map(entries) => {
            for MapEntry { optional, key, value } in entries {
                let found = infer(key, variables)?;
                if !found.may_be(&[ValueKind::Text, ValueKind::Int, ValueKind::UInt, ValueKind::Bool]) {
                    let message = format!("{} cannot be the key of a map; strings are", found.a());
                    return Err(CompileError::new(key.at, message));
                }
                let found = infer(value, variables)?;
                needs_optional(*optional, value, found)?;
            }
            Ok(Type::Of(ValueKind::Map))
        }
        What::Not(inner) => condition(inner, "`!`", variables).map(|()| Type::Of(ValueKind::Bool)),
        What::Negate(inner) => {
            let found = infer(inner, variables)?;
            if !found.may_be(&[ValueKind::Int, ValueKind::Double]) {
                return Err(CompileError::new(node.at, format!("{} cannot be negated", found.a())));
            }
            Ok(found)
        }
        What::All(parts) | What::Any(parts) => {
            let sign = if matches!(node.what, What::All(_)) { "`&&`" } else { "`||`" };
            for part in parts {
                condition(part, sign, variables)?;
            }
            Ok(Type::Of(ValueKind::Bool))
        }
        What::Choice { condition: decides, yes, no } => {
            condition(decides, "`?`", variables)?;
            let (yes, no) = (infer(yes, variables)?, infer(no, variables)?);
            Ok(if yes == no { yes } else { Type::Any })
        }
        What::Arithmetic(first, rest) => {
            let mut left = infer(first, variables)?;
            for (operator, at, right) in rest {
                left = arithmetic(*operator, *at, left, infer(right, variables)?)?;
            }
            Ok(left)
        }
        What::Compare(comparison, left, right) => {
            let (left, right) = (infer(left, variables)?, infer(right, variables)?);
            compare(*comparison, node.at, left, right)?;
            Ok(Type::Of(ValueKind::Bool))
        }
        What::Call { function, arguments, .. } => {
            let mut found = Vec::with_capacity(arguments.len());
            for argument in arguments {
                found.push(infer(argument, variables)?);
            }
            let fits = |takes: &[Option<ValueKind>]| {
                takes.iter().zip(&found).all(|(takes, found)| takes.is_none_or(|kind| found.may_be(&[kind])))
            };
            let mut gives = function.overloads(arguments.len()).filter(|overload| fits(overload.takes));
            let Some(first) = gives.next() else {
                let names: Vec<_> = found.iter().map(|found| found.name()).collect();
                let message = format!("`{}` cannot be called with {}", function.name(), names.join(", "));
                return Err(CompileError::new(node.at, message));
            };
            let same = gives.all(|overload| overload.gives == first.gives);
            Ok(if same { Type::of(first.gives) } else { Type::Any })
        }
        What::Loop(comprehension) => comprehension_type(node, comprehension, variables),
        What::OptionalMap { from, body, .. } => {
            let found = infer(from, variables)?;
            needs_optional(true, from, found)?;
            variables.push(Type::Any);
            infer(body, variables)?;
            variables.pop();
            Ok(Type::Of(ValueKind::Optional))
        }
    }
}

fn needs_optional(needed: bool, node: &Node, found: Type) -> Result<(), CompileError> {
    if !needed || found.may_be(&[ValueKind::Optional]) {
        return Ok(());
    }
    Err(CompileError::new(node.start(), format!("expected an optional value, found {}", found.a())))
}

fn comprehension_type(
    node: &Node,
    comprehension: &Comprehension,
    variables: &mut Vec<Type>,
) -> Result<Type, CompileError> {
    let Comprehension { of, pairs, range, only, body } = comprehension;
    let found = infer(range, variables)?;
    let (key, value) = match found {
        Type::Any | Type::Of(ValueKind::Map) => (Type::Any, Type::Any),
        Type::Of(ValueKind::List) => (Type::Of(ValueKind::Int), Type::Any),
        Type::Headers => (Type::Of(ValueKind::Text), Type::Of(ValueKind::Text)),
        Type::Event => (Type::Of(ValueKind::Text), Type::Any),
        Type::Of(_) => {
            let message = format!("{} cannot be iterated; use a list or a map", found.a());
            return Err(CompileError::new(node.at, message));
        }
    };
    let outer = variables.len();
    match (pairs, found) {
        (true, _) => variables.extend([key, value]),
        (false, Type::Headers | Type::Event) => variables.push(key),
        (false, _) => variables.push(Type::Any),
    }
    if let Some(only) = only {
        condition(only, "the macro's condition", variables)?;
    }
    match of {
        Loop::Map | Loop::MapValues => infer(body, variables).map(|_| ())?,
        Loop::MapEntries => {
            let found = infer(body, variables)?;
            if !found.may_be(&[ValueKind::Map]) {
                let message = format!("transformMapEntry requires a map of entries, not {}", found.a());
                return Err(CompileError::new(body.start(), message));
            }
        }
        Loop::All | Loop::Exists | Loop::ExistsOne | Loop::Filter => {
            condition(body, "the macro's condition", variables)?;
        }
    }
    variables.truncate(outer);
    Ok(Type::Of(match of {
        Loop::Map | Loop::Filter => ValueKind::List,
        Loop::MapValues | Loop::MapEntries => ValueKind::Map,
        Loop::All | Loop::Exists | Loop::ExistsOne => ValueKind::Bool,
    }))
}

fn kind(literal: &Literal) -> ValueKind {
    match literal {
        Literal::Null => ValueKind::Null,
        Literal::Bool(_) => ValueKind::Bool,
        Literal::Int(_) => ValueKind::Int,
        Literal::UInt(_) => ValueKind::UInt,
        Literal::Double(_) => ValueKind::Double,
        Literal::Text(_) => ValueKind::Text,
        Literal::Bytes(_) => ValueKind::Bytes,
        Literal::Type(_) => ValueKind::Type,
    }
}

fn condition(node: &Node, what: &str, variables: &mut Vec<Type>) -> Result<(), CompileError> {
    let found = infer(node, variables)?;
    if found.may_be(&[ValueKind::Bool]) {
        return Ok(());
    }
    Err(CompileError::new(node.start(), format!("{what} requires a bool, not {}", found.a())))
}

fn field_type(node: &Node, from: Type, field: &str) -> Result<Type, CompileError> {
    match from {
        Type::Any | Type::Of(ValueKind::Map | ValueKind::Optional) => Ok(Type::Any),
        Type::Headers => Ok(Type::Of(ValueKind::Text)),
        Type::Event => match EventInput::FIELDS.iter().find(|(name, _)| *name == field) {
            Some((_, kind)) => Ok(Type::Of(*kind)),
            None => {
                let known: Vec<_> = EventInput::FIELDS.iter().map(|(name, _)| *name).collect();
                Err(CompileError::new(node.at, format!("event has no field `{field}`; it has {}", known.join(", "))))
            }
        },
        Type::Of(kind) => {
            Err(CompileError::new(node.at, format!("{} has no field `{field}`; only maps have fields", kind.a())))
        }
    }
}

fn index_type(
    node: &Node,
    from: &Node,
    index: &Node,
    optional: bool,
    variables: &mut Vec<Type>,
) -> Result<Type, CompileError> {
    let (found, key) = (infer(from, variables)?, infer(index, variables)?);
    let allowed: &[ValueKind] = match found {
        Type::Any | Type::Of(ValueKind::Optional) => {
            &[ValueKind::Int, ValueKind::UInt, ValueKind::Double, ValueKind::Text, ValueKind::Bool]
        }
        Type::Of(ValueKind::List) => NUMBERS,
        Type::Of(ValueKind::Map) => {
            &[ValueKind::Int, ValueKind::UInt, ValueKind::Double, ValueKind::Text, ValueKind::Bool]
        }
        Type::Headers | Type::Event => &[ValueKind::Text],
        Type::Of(_) => return Err(CompileError::new(node.at, format!("{} has no elements", found.a()))),
    };
    if !key.may_be(allowed) {
        return Err(CompileError::new(index.at, format!("{} has no element at {}", found.a(), key.a())));
    }
    Ok(match found {
        _ if optional || found == Type::Of(ValueKind::Optional) => Type::Of(ValueKind::Optional),
        Type::Headers => Type::Of(ValueKind::Text),
        _ => Type::Any,
    })
}

fn arithmetic(operator: Arithmetic, at: usize, left: Type, right: Type) -> Result<Type, CompileError> {
    use Arithmetic::{Add, Divide, Multiply, Remainder, Subtract};
    use ValueKind::{Bytes, Double, Duration, Int, List, Text, Timestamp, UInt};
    let rows: &[(ValueKind, ValueKind, ValueKind)] = match operator {
        Add => &[
            (Int, Int, Int),
            (UInt, UInt, UInt),
            (Double, Double, Double),
            (Text, Text, Text),
            (Bytes, Bytes, Bytes),
            (List, List, List),
            (Timestamp, Duration, Timestamp),
            (Duration, Timestamp, Timestamp),
            (Duration, Duration, Duration),
        ],
        Subtract => &[
            (Int, Int, Int),
            (UInt, UInt, UInt),
            (Double, Double, Double),
            (Timestamp, Timestamp, Duration),
            (Timestamp, Duration, Timestamp),
            (Duration, Duration, Duration),
        ],
        Multiply | Divide => &[(Int, Int, Int), (UInt, UInt, UInt), (Double, Double, Double)],
        Remainder => &[(Int, Int, Int), (UInt, UInt, UInt)],
    };
    let mut fitting = rows.iter().filter(|(a, b, _)| left.may_be(&[*a]) && right.may_be(&[*b])).map(|(_, _, c)| *c);
    let Some(first) = fitting.next() else {
        let (sign, left, right) = (operator.sign(), left.name(), right.name());
        let advice = if operator == Add && (left == "string" || right == "string") {
            "; string(…) makes a string of it"
        } else if NUMBERS.iter().any(|kind| kind.name() == left) && NUMBERS.iter().any(|kind| kind.name() == right) {
            "; double(…), int(…) and uint(…) convert"
        } else {
            ""
        };
        return Err(CompileError::new(at, format!("`{sign}` is not defined for {left} and {right}{advice}")));
    };
    Ok(if fitting.all(|kind| kind == first) { Type::Of(first) } else { Type::Any })
}

fn compare(comparison: Comparison, at: usize, left: Type, right: Type) -> Result<(), CompileError> {
    let (Some(a), Some(b)) = (left.kind(), right.kind()) else {
        return match (comparison, right.kind()) {
            (Comparison::In, Some(kind)) if !matches!(kind, ValueKind::List | ValueKind::Map) => {
                Err(CompileError::new(at, format!("`in` requires a list or a map, not {}", right.a())))
            }
            _ => Ok(()),
        };
    };
    let numbers = NUMBERS.contains(&a) && NUMBERS.contains(&b);
    let fits = match comparison {
        Comparison::Equal | Comparison::Unequal => a == b || numbers || a == ValueKind::Null || b == ValueKind::Null,
        Comparison::In => {
            b == ValueKind::List
                || (b == ValueKind::Map
                    && left.may_be(&[
                        ValueKind::Text,
                        ValueKind::Int,
                        ValueKind::UInt,
                        ValueKind::Double,
                        ValueKind::Bool,
                    ]))
        }
        Comparison::Less | Comparison::AtMost | Comparison::Greater | Comparison::AtLeast => {
            use ValueKind::{Bool, Bytes, Duration, Text, Timestamp};
            numbers || (a == b && matches!(a, Bool | Bytes | Duration | Text | Timestamp))
        }
    };
    if fits {
        return Ok(());
    }
    let (sign, left, right) = (comparison.sign(), left.name(), right.name());
    Err(CompileError::new(at, format!("`{sign}` is not defined for {left} and {right}")))
}
