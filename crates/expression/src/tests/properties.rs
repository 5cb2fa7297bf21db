//! Properties that hold for any expression.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

/// Values of the other implementation as JSON, where both agree on what that is.
fn other(value: &cel::Value) -> Option<Json> {
    use cel::Value as Other;
    Some(match value {
        Other::Null => Json::Null,
        Other::Bool(flag) => json!(flag),
        Other::Int(number) => json!(number),
        Other::UInt(number) => json!(number),
        Other::Float(number) => json!(number),
        Other::String(text) => json!(&**text),
        Other::List(elements) => Json::Array(elements.iter().map(other).collect::<Option<_>>()?),
        Other::Map(map) => {
            let entry = |(key, value): (&cel::objects::Key, &cel::Value)| match key {
                cel::objects::Key::String(key) => Some((key.to_string(), other(value)?)),
                _ => None,
            };
            Json::Object(map.map.iter().map(entry).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("payload.amount".to_owned()),
        Just("payload.action".to_owned()),
        Just("payload.rate".to_owned()),
        Just("payload.paid".to_owned()),
        Just("payload.lines".to_owned()),
        Just("payload.missing".to_owned()),
        Just("payload.repository.full_name".to_owned()),
        Just("null".to_owned()),
        (-3i64..4).prop_map(|number| number.to_string()),
        Just("2u".to_owned()),
        Just("1.5".to_owned()),
        Just("'opened'".to_owned()),
        Just("''".to_owned()),
        Just("[1, 2]".to_owned()),
        Just("{'a': 1}".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), "(\\+|-|\\*|/|%|==|!=|<|<=|>|>=|&&|\\|\\|| in )", inner.clone())
                .prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), "(size|string|int|double)").prop_map(|(a, name)| format!("{name}({a})")),
            (inner.clone(), "(contains|startsWith|endsWith)", inner.clone())
                .prop_map(|(a, name, b)| format!("{a}.{name}({b})")),
            (inner.clone(), "(map|filter|all|exists|exists_one)", inner.clone())
                .prop_map(|(a, name, b)| format!("{a}.{name}(x, {b})")),
            // The other one reads two signs in a row as one.
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("[{a}, {b}]")),
        ]
    })
}

proptest! {
    /// Where both give a value, it is the same. They differ in what they refuse: types are checked here beforehand.
    #[test]
    fn agrees_with_another_implementation(source in expressions()) {
        let document = document();
        let Ok(expression) = Expression::compile(&source, Scope::Request, ExpectedType::Json) else { return Ok(()) };
        let Ok(ours) = expression.json(&inputs(&document), TRANSFORM_BYTES) else { return Ok(()) };
        let mut context = cel::Context::default();
        context.add_variable("payload", &document).unwrap();
        let Ok(theirs) = cel::Program::compile(&source).unwrap().execute(&context) else { return Ok(()) };
        if let Some(theirs) = other(&theirs) {
            let ours: Json = serde_json::from_slice(&ours).unwrap();
            prop_assert_eq!(ours, theirs, "{}", source);
        }
    }

    #[test]
    fn no_text_panics(source in r#"([a-z.?\[\](){}'"\\+\-*/%=!<>&|, 0-9ebru:]|payload|event|\.map\(x, |has\(|é){0,40}"#) {
        if let Ok(expression) = Expression::compile(&source, Scope::Delivery, ExpectedType::Json) {
            let _ = expression.json(&inputs(&document()), 1000);
        }
    }

    #[test]
    fn times_and_spans_never_panic(seconds in any::<i64>(), span in "-?[0-9]{1,19}(h|m|s|ns)", part in 0usize..10) {
        const PARTS: [&str; 10] = ["getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate",
            "getDayOfWeek", "getHours", "getMinutes", "getSeconds", "getMilliseconds"];
        let source = format!("(timestamp({seconds} / 40000000) - duration('{span}')).{}('-23:59') > 0", PARTS[part]);
        if let Ok(expression) = Expression::compile(&source, Scope::Delivery, ExpectedType::Bool) {
            let _ = expression.test(&Inputs::default());
        }
    }
}
