//! The conformance tests of CEL, see `scripts/cel-conformance`.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::*;
use crate::{
    check,
    time::{CelTimestamp, parse_duration},
    value::{Blob, List, Map},
};

/// Cases that differ on purpose, by the beginning of their names, and the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("basic/variables/unbound_is_runtime_error", UNKNOWN_NAME),
    ("basic/functions/unbound_is_runtime_error", UNKNOWN_NAME),
    ("parse/receiver_function_names/", UNKNOWN_NAME),
    ("logic/AND/short_circuit_type_", KNOWN_TYPE),
    ("logic/OR/short_circuit_type_", KNOWN_TYPE),
    ("comparisons/lt_literal/not_lt_dyn_int_big_lossy_double", EXACT),
    ("comparisons/gt_literal/not_gt_dyn_big_double_int", EXACT),
    ("comparisons/lte_literal/lte_dyn_big_double_int", EXACT),
    ("comparisons/gte_literal/gte_dyn_int_big_lossy_double", EXACT),
    ("conversions/int/double_int_min_range", "the least integer is exact as a double"),
];

const UNKNOWN_NAME: &str = "names are checked when an expression is compiled";
const KNOWN_TYPE: &str = "types that are known are checked when an expression is compiled";
const EXACT: &str =
    "numbers compare by their exact values, as on a number line, without rounding an integer to a double";

#[derive(Deserialize)]
struct Suite {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    expr: String,
    #[serde(default)]
    bindings: BTreeMap<String, Json>,
    /// The result.
    value: Option<Json>,
    /// Evaluation fails; other implementations say this.
    error: Option<String>,
}

fn value(json: &Json) -> Value<'_> {
    let (kind, inner) = json.as_object().unwrap().iter().next().unwrap();
    let text = || inner.as_str().unwrap();
    match kind.as_str() {
        "null" => Value::Null,
        "bool" => Value::Bool(inner.as_bool().unwrap()),
        "int" => Value::Int(text().parse().unwrap()),
        "uint" => Value::UInt(text().parse().unwrap()),
        "double" => Value::Double(text().parse().unwrap()),
        "string" => Value::text(text()),
        "bytes" => Value::Bytes(Blob::Shared(STANDARD.decode(text()).unwrap().into())),
        "type" => Value::Type(ValueKind::named(text()).unwrap()),
        "timestamp" => Value::Timestamp(CelTimestamp::parse(text()).unwrap()),
        "duration" => Value::Duration(parse_duration(text()).unwrap()),
        "list" => Value::list(inner.as_array().unwrap().iter().map(value).collect()),
        "map" => {
            let pairs = inner.as_array().unwrap().iter();
            Value::Map(Map::Shared(pairs.map(|pair| (value(&pair[0]), value(&pair[1]))).collect()))
        }
        other => panic!("{other}"),
    }
}

/// Whether two values are the same, of the same types. What is not a number is the same as itself.
fn same(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a == b || (a.is_nan() && b.is_nan()),
        (Value::List(a), Value::List(b)) => same_lists(a, b),
        (Value::Map(a), Value::Map(b)) => {
            let (a, b) = (a.entries(), b.entries());
            let has = |(key, value): &(Value<'_>, Value<'_>)| {
                b.iter().any(|(other_key, other)| same(key, other_key) && same(value, other))
            };
            a.len() == b.len() && a.iter().all(has)
        }
        (Value::Null, Value::Null) => true,
        (Value::Type(a), Value::Type(b)) => a == b,
        _ => a.kind() == b.kind() && a.compare(b).is_some_and(|order| order.is_eq()),
    }
}

fn same_lists(a: &List<'_>, b: &List<'_>) -> bool {
    a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(&a, &b))
}

/// What is wrong with the result of a case.
fn run(case: &Case) -> Result<(), String> {
    let (names, values): (Vec<Box<str>>, Vec<Value<'_>>) =
        case.bindings.iter().map(|(name, bound)| (Box::from(name.as_str()), value(bound))).unzip();
    let mut types = vec![check::Type::Any; names.len()];
    let inputs = Inputs::default();
    let compiled = parser::parse_with(&case.expr, Scope::Request, names)
        .and_then(|(root, _)| check::infer(&root, &mut types).map(|_| root));
    let result = match &compiled {
        Ok(root) => {
            let mut evaluator = Evaluator::new(&inputs, CostBudget::default().expression);
            evaluator.bind(values);
            evaluator.value(root).map_err(|error| error.message.into_owned())
        }
        Err(error) => Err(error.message.clone()),
    };
    match (result, &case.value) {
        (Ok(found), Some(expected)) if same(&found, &value(expected)) => Ok(()),
        (Ok(found), _) => Err(format!("{:?} instead of {:?} or {:?}", found, case.value, case.error)),
        (Err(_), None) => Ok(()),
        (Err(error), Some(_)) => Err(error),
    }
}

#[test]
fn the_conformance_tests_pass() {
    let suite: Suite = serde_json::from_str(include_str!("../../tests/conformance.json")).unwrap();
    let mut excepted = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut passed = 0;
    for case in &suite.cases {
        let exception = EXCEPTIONS.iter().find(|(name, _)| case.name.starts_with(name));
        match (run(case), exception) {
            (Ok(()), None) => passed += 1,
            (Err(_), Some((name, _))) => *excepted.entry(*name).or_insert(0) += 1,
            (Err(error), None) => wrong.push(format!("{}: {}: {error}", case.name, case.expr)),
            (Ok(()), Some(_)) => {}
        }
    }
    println!("{passed} of {} cases pass, {} are exceptions", suite.cases.len(), excepted.values().sum::<usize>());
    assert!(wrong.is_empty(), "{} cases fail:\n{}", wrong.len(), wrong.join("\n"));
    for (name, reason) in EXCEPTIONS {
        assert!(excepted.contains_key(name), "{name} passes and is no exception any more: {reason}");
    }
}
